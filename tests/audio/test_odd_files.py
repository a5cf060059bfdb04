"""Headers that say something else than what is there: the file is read to its end, or rejected with the reason."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc

import fsspec
import numpy as np
import pytest
import soundfile

from cslm.audio.audio_source import stretch_url
from cslm.audio.waveform import load_waveform, resample
from cslm.errors import UserError
from tests.worlds.odd_audio import RATE_HZ, encoded, flac_of_a_pipe, mp3_without_count, patched, sound, wav

FORMATS = [
    ("WAV", None),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAVEX", None),
    ("RF64", None),
    ("W64", None),
    ("AIFF", None),
    ("AU", None),
    ("CAF", None),
    ("CAF", "ALAC_16"),
    ("NIST", None),
    ("FLAC", None),
    ("MP3", None),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
]


def load(tmp_path, content, **options):
    (tmp_path / "a").write_bytes(content)
    notes = []
    waveform, rate_hz = load_waveform(tmp_path / "a", notes=notes, **options)
    return waveform, rate_hz, notes


def seconds(tmp_path, content, **options):
    waveform, rate_hz, _ = load(tmp_path, content, **options)
    return len(waveform) / rate_hz


# What was right stays as it was.


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_give_the_samples_of_one_long_read(tmp_path, kind, subtype, channels):
    content = encoded(kind, sound(40, channels), subtype=subtype)
    whole = soundfile.SoundFile(io.BytesIO(content)).read(-1, dtype="float32", always_2d=True)
    mono = whole.mean(axis=1, dtype=np.float32) if channels > 1 else whole[:, 0]
    found, rate_hz, notes = load(tmp_path, content)
    np.testing.assert_array_equal(found, mono)
    assert notes == []
    resampled, _, _ = load(tmp_path, content, sample_rate_hz=24000)
    np.testing.assert_array_equal(resampled, resample(mono, rate_hz, 24000))
    if (kind, subtype) != ("WAV", "MS_ADPCM"):
        part, _, _ = load(tmp_path, content, start_sec=20.5, duration_sec=3)
        there = soundfile.SoundFile(io.BytesIO(content))
        there.seek(round(20.5 * rate_hz))
        np.testing.assert_array_equal(part, there.read(3 * rate_hz, dtype="float32", always_2d=True).mean(axis=1))


@pytest.mark.parametrize("from_hz", [8000, 11025, 22050, 44100, 48000])
def test_resampling_in_blocks_gives_the_same_bits(tmp_path, from_hz):
    samples = sound(25, rate_hz=from_hz)
    found, _, _ = load(tmp_path, encoded("WAV", samples, from_hz, subtype="FLOAT"), sample_rate_hz=16000)
    np.testing.assert_array_equal(found, resample(samples[:, 0], from_hz, 16000))


def test_half_an_hour_of_stereo_costs_little_more_than_its_waveform(tmp_path):
    with soundfile.SoundFile(tmp_path / "a", "w", 44100, 2, format="WAV") as file:
        for _ in range(30):
            file.write(sound(60, 2, 44100))
    tracemalloc.start()
    waveform, _ = load_waveform(tmp_path / "a", sample_rate_hz=16000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(waveform) == 30 * 60 * 16000
    assert peak - waveform.nbytes < 64 * 2**20


# Channels.


def test_two_speakers_on_two_channels_are_not_mixed(tmp_path):
    samples = sound(1, 2)
    content = encoded("WAV", samples, subtype="FLOAT")
    for channel in (0, 1):
        found, _, _ = load(tmp_path, content, channel=channel)
        np.testing.assert_array_equal(found, samples[:, channel])
    with pytest.raises(UserError, match=r"has no channel 2, but 2 \(counted from 0\)"):
        load(tmp_path, content, channel=2)


# Headers that are wrong.


@pytest.mark.parametrize(
    ("changes", "noted"),
    [
        ({"data_size": 0xFFFFFFFF, "riff_size": 0xFFFFFFFF}, False),
        ({"data_size": 0x7FFFF000, "riff_size": 0x7FFFF024}, False),
        ({"data_size": 0x7FFFEFFC}, False),
        ({"data_size": 0x80000000}, False),
        ({"data_size": 0, "riff_size": 0}, True),
        ({"data_size": 0, "riff_size": 36}, True),
        ({"data_size": 18 * 32000 // 4}, True),
        ({"riff_size": 10_000_000}, True),
    ],
)
def test_a_wav_with_wrong_sizes_is_read_to_its_end(tmp_path, changes, noted):
    right, _, _ = load(tmp_path, wav())
    found, _, notes = load(tmp_path, wav(**changes))
    np.testing.assert_array_equal(found, right)
    assert bool(notes) is noted


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_a_wav_of_another_encoding_that_declares_a_quarter(tmp_path, subtype):
    content = encoded("WAV", subtype=subtype)
    size = struct.unpack("<I", content[content.index(b"data") + 4 :][:4])[0]
    right, _, _ = load(tmp_path, content)
    found, _, notes = load(tmp_path, wav(content, data_size=size // 4 // 256 * 256))
    assert len(found) == pytest.approx(len(right), abs=512)
    assert "are there" in notes[0]


def test_chunks_behind_the_samples_are_no_samples(tmp_path):
    right, _, _ = load(tmp_path, wav())
    listed = b"LIST" + struct.pack("<I", 20_000) + bytes(20_000)
    tags = [b"ID3\3" + bytes(range(1, 200)) * 99, b"<?xml" + b"x" * 9000, bytes(9000)]
    for after in (
        *tags,
        listed,
        b"\0" + listed,
        listed + b"TAG" + bytes(125),
        bytes(64),
        b"id3 " + struct.pack("<I", 4) + b"abcd",
    ):
        found, _, notes = load(tmp_path, wav(after=after))
        np.testing.assert_array_equal(found, right)
        assert notes == []


def test_more_than_four_gigabytes_of_wav_are_read(tmp_path):
    content = wav(encoded("WAV", sound(1, 2, 48000), 48000))
    with (tmp_path / "a").open("wb") as file:  # sparse: the disk holds a second of it
        file.write(content)
        file.truncate(2**32 + len(content))
    waveform, rate_hz = load_waveform(tmp_path / "a", start_sec=2**32 / 192000 - 1, duration_sec=1)
    assert (len(waveform), rate_hz) == (48000, 48000)


@pytest.mark.parametrize(
    ("kind", "field", "order"), [("AIFF", b"SSND", ">"), ("AU", None, ">"), ("NIST", b"sample_count", "")]
)
def test_other_headers_that_declare_a_quarter(tmp_path, kind, field, order):
    content = encoded(kind)
    right, _, _ = load(tmp_path, content)
    if field == b"SSND":
        wrong = patched(content, content.index(field) + 4, struct.pack(">I", 18 * 32000 // 4 + 8))
    elif kind == "AU":
        wrong = patched(content, 8, struct.pack(">I", 18 * 32000 // 4))
    else:
        wrong = content.replace(b"sample_count -i 288000", b"sample_count -i 072000")
        assert wrong != content
    found, _, notes = load(tmp_path, wrong)
    np.testing.assert_array_equal(found, right)
    assert "are there" in notes[0]


@pytest.mark.parametrize("size", [0, 144_000])
@pytest.mark.parametrize("kind", ["CAF", "W64", "RF64"])
def test_headers_with_sizes_of_64_bits_that_declare_too_little(tmp_path, kind, size):
    content = encoded(kind)
    right, _, _ = load(tmp_path, content)
    if kind == "RF64":
        wrong = patched(content, content.index(b"ds64") + 16, struct.pack("<Q", size))
        wrong = patched(wrong, content.index(b"data") + 4, b"\xff" * 4)
    else:
        place = content.index(b"data") + (4 if kind == "CAF" else 16)
        wrong = patched(
            content, place, struct.pack(">Q" if kind == "CAF" else "<Q", size + (0 if kind == "CAF" else 24))
        )
    found, _, notes = load(tmp_path, wrong)
    assert len(found) == pytest.approx(len(right), abs=4)
    assert bool(notes)


def test_two_files_of_lists_and_text_behind_the_samples(tmp_path):
    right, _, notes = load(tmp_path, encoded("CAF") + b"info" + struct.pack(">q", 8000) + bytes(8000))
    assert len(right) == 18 * RATE_HZ and notes == []


@pytest.mark.parametrize("total", [0, 72_000])
def test_a_flac_written_to_a_pipe_is_read_to_its_end(tmp_path, total):
    right, _, _ = load(tmp_path, encoded("FLAC"))
    content = flac_of_a_pipe(total=total)
    found, _, notes = load(tmp_path, content)
    np.testing.assert_array_equal(found, right)
    assert bool(notes) is bool(total)
    for start_sec in (2.0, 10.0):
        part, _, _ = load(tmp_path, content, start_sec=start_sec, duration_sec=4)
        np.testing.assert_array_equal(part, right[round(start_sec * RATE_HZ) :][: 4 * RATE_HZ])
    with pytest.raises(UserError, match="too long: .* at most 10 s can be used at once"):
        load(tmp_path, content, max_sec=10)


def test_a_tag_behind_a_flac_is_no_audio(tmp_path):
    right, _, _ = load(tmp_path, encoded("FLAC"))
    found, _, notes = load(tmp_path, encoded("FLAC") + b"TAG" + bytes(20_000))
    np.testing.assert_array_equal(found, right)
    assert notes == []


@pytest.mark.parametrize("silent_first", [True, False])
def test_a_vbr_mp3_without_its_first_frame_is_read_whole(tmp_path, silent_first):
    """Half speech, half silence: the rate of the first frames says nothing about the others."""
    samples = sound(38)
    half = slice(0, 20 * RATE_HZ) if silent_first else slice(18 * RATE_HZ, None)
    samples[half] = 0
    assert seconds(tmp_path, mp3_without_count(samples)) == pytest.approx(38, abs=0.2)
    assert seconds(tmp_path, mp3_without_count(samples), start_sec=30) == pytest.approx(8, abs=0.2)
    assert seconds(tmp_path, mp3_without_count(samples), max_sec=60) == pytest.approx(38, abs=0.2)


def test_an_mp3_beside_its_shadow_of_a_mac_is_read(tmp_path):
    (tmp_path / "._x.mp3").write_bytes(b"\0\5\x16\7" + bytes(100))
    (tmp_path / "x.mp3").write_bytes(encoded("MP3"))
    assert len(load_waveform(tmp_path / "x.mp3")[0]) == 18 * RATE_HZ


def test_two_mp3_files_one_after_the_other(tmp_path):
    content = encoded("MP3")
    assert seconds(tmp_path, content + content) == pytest.approx(36, abs=0.3)


# Streams and cuts.


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_two_ogg_streams_one_after_the_other_are_both_read(tmp_path, subtype):
    one, other = (encoded("OGG", sound(length, seed=length), subtype=subtype) for length in (3, 2))
    first, second = load(tmp_path, one)[0], load(tmp_path, other)[0]
    found, rate_hz, notes = load(tmp_path, one + other)
    np.testing.assert_array_equal(found, np.concatenate([first, second]))
    assert notes == ["2 streams one after the other"]
    part, _, _ = load(tmp_path, one + other, start_sec=2.5, duration_sec=1)
    np.testing.assert_array_equal(part, found[round(2.5 * rate_hz) : round(3.5 * rate_hz)])


def test_ogg_streams_of_different_rates_are_refused(tmp_path):
    with pytest.raises(UserError, match="streams of 16000 Hz, 1 channels and of 8000 Hz"):
        load(tmp_path, encoded("OGG") + encoded("OGG", sound(1, rate_hz=8000), 8000))


@pytest.mark.parametrize(("kind", "subtype"), [f for f in FORMATS if f not in [("CAF", "ALAC_16")]])
def test_a_file_cut_in_half_is_rejected(tmp_path, kind, subtype):
    content = encoded(kind, subtype=subtype)
    with pytest.raises(UserError, match="(is cut short: .*; copy or download it again|cannot be read as audio)"):
        load(tmp_path, content[: len(content) // 2])


def test_an_ogg_without_its_last_pages_is_noted(tmp_path):
    content = encoded("OGG", subtype="VORBIS")
    last = content.rindex(b"OggS")
    found, _, notes = load(tmp_path, content[:last])
    assert 0 < len(found) < 18 * RATE_HZ
    assert notes == ["its last page is not marked as the last"]


# Any fault is the file's, with a reason that is the same every time.


def test_a_reason_holds_no_address_in_memory(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        entry = tarfile.TarInfo("bad.flac")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    with pytest.raises(UserError, match="cannot be read as audio") as error:
        load_waveform(f"tar://bad.flac::{tmp_path}/a.tar")
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("name", ["no\0name.wav", "half\ud83d.wav", "folder"])
def test_names_that_no_file_can_have_are_a_rejection(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no such audio file"):
        load_waveform(os.path.join(tmp_path, name))


def test_a_fault_of_the_disk_in_the_middle_is_not_the_end_of_the_audio(tmp_path, monkeypatch):
    from cslm.audio.byte_pieces import BytePieces

    fill = BytePieces._fill

    def broken(self, view):
        if self._place > 100_000:
            raise OSError(5, "Input/output error")
        return fill(self, view)

    monkeypatch.setattr(BytePieces, "_fill", broken)
    with pytest.raises(UserError, match="Input/output error"):
        load(tmp_path, encoded("FLAC"))


def test_a_stretch_of_a_file(tmp_path):
    content = encoded("WAV", sound(1))
    (tmp_path / "a.ark").write_bytes(b"utt-1 " + content + b"utt-2 " + content)
    start = 6
    waveform, _ = load_waveform(stretch_url(str(tmp_path / "a.ark"), start, start + len(content)))
    assert len(waveform) == RATE_HZ
    with pytest.raises(UserError, match=r"is not bytes://START-STOP::PATH"):
        load_waveform(f"bytes://x::{tmp_path}/a.ark")


def test_a_url_is_read_in_blocks_too():
    with fsspec.open("memory://odd/a.flac", "wb") as file:
        file.write(flac_of_a_pipe())
    assert len(load_waveform("memory://odd/a.flac")[0]) == 18 * RATE_HZ


# What ended too early without a word.


@pytest.mark.parametrize("left", [".AppleDouble", "._"])
def test_what_a_mac_left_in_the_working_directory_is_no_part_of_an_mp3(tmp_path, monkeypatch, left):
    before, _, _ = load(tmp_path, encoded("MP3", sound(2)))
    (tmp_path / left).mkdir()
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(load(tmp_path, encoded("MP3", sound(2)))[0], before)


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("other", [sound(2, rate_hz=44100), sound(2, channels=2)])
def test_mp3_frames_of_another_kind_are_not_dropped_in_silence(tmp_path, counted, other):
    first = encoded("MP3", sound(3)) if counted else mp3_without_count(sound(3))
    rate_hz = RATE_HZ if other.shape[1] == 2 else 44100
    with pytest.raises(UserError, match="holds streams of 16000 Hz, 1 channels and of"):
        load(tmp_path, first + encoded("MP3", other, rate_hz))


def test_an_mp3_of_a_radio_that_ends_within_a_frame_is_read_to_its_last_whole_one(tmp_path):
    content = mp3_without_count(sound(10))
    whole, rate_hz, _ = load(tmp_path, content)
    waveform, _, notes = load(tmp_path, content[: len(content) // 2 - 100])
    assert 3 < len(waveform) / rate_hz < 7
    np.testing.assert_allclose(waveform[:-2000], whole[: len(waveform) - 2000], atol=1e-6)
    assert len(notes) == 1
    assert "bytes behind its last whole frame" in notes[0]


@pytest.mark.parametrize("rest", [bytes(200_000), np.random.default_rng(0).bytes(200_000)])
def test_an_mp3_with_much_that_is_no_audio_behind_it_is_read(tmp_path, rest):
    content = encoded("MP3", sound(2))
    whole, _, _ = load(tmp_path, content)
    waveform, _, notes = load(tmp_path, content + rest)
    np.testing.assert_array_equal(waveform, whole)
    assert notes == ["200000 bytes behind its last frame"]


def test_frames_behind_a_hole_in_an_mp3_are_not_dropped_in_silence(tmp_path):
    content = mp3_without_count(sound(6))
    half = len(content) // 2
    with pytest.raises(UserError, match=r"near byte \d+ of"):
        load(tmp_path, content[:half] + np.random.default_rng(0).bytes(3000) + content[half + 3000 :])


@pytest.mark.parametrize("kind", ["FLAC", "WAV"])
def test_a_tag_of_mp3_before_another_format(tmp_path, kind):
    tag, content = b"ID3\3\0\0\0\0\1\0" + bytes(128), encoded(kind, sound(4))
    whole, _, _ = load(tmp_path, content)
    np.testing.assert_array_equal(load(tmp_path, tag + content)[0], whole)
    with pytest.raises(UserError, match="cut short|cannot be read as audio"):
        load(tmp_path, tag + content[: len(content) // 2])


def test_two_flac_files_one_after_the_other_are_not_read_as_the_first(tmp_path):
    with pytest.raises(UserError, match="holds two FLAC files"):
        load(tmp_path, encoded("FLAC", sound(6)) + encoded("FLAC", sound(6, seed=1)))


@pytest.mark.parametrize(("kind", "subtype"), [("NIST", "ULAW"), ("NIST", "ALAW"), ("AU", "G721_32")])
@pytest.mark.parametrize("tenth", range(1, 10))
def test_telephone_speech_that_is_cut_short_is_rejected(tmp_path, kind, subtype, tenth):
    content = encoded(kind, sound(3, rate_hz=8000), 8000, subtype=subtype)
    assert seconds(tmp_path, content) == pytest.approx(3, abs=0.05)
    with pytest.raises(UserError, match="is cut short"):
        load(tmp_path, content[: len(content) * tenth // 10])


def test_a_format_that_cannot_be_checked_is_noted(tmp_path):
    assert load(tmp_path, encoded("VOC", sound(1)))[2] == [
        "whether all of it is there is not known of its format (VOC)"
    ]


@pytest.mark.parametrize("rate_hz", [1, 100, 2**31 - 1])
def test_a_damaged_rate_does_not_fill_the_memory(tmp_path, rate_hz):
    content = patched(encoded("WAV", sound(1)), 24, struct.pack("<I", rate_hz))
    with pytest.raises(UserError, match=f"says that it has {rate_hz} samples a second"):
        load(tmp_path, content, sample_rate_hz=RATE_HZ)


@pytest.mark.parametrize("part", [(0.5, 0.0), (1.0, 0.05), (1.0, None), (0.0, 1e308)])
def test_a_part_without_samples_is_not_blamed_on_the_file(tmp_path, part):
    with pytest.raises(UserError, match=r"asked for .*; correct the manifest"):
        load(tmp_path, encoded("WAV", sound(1)), start_sec=part[0], duration_sec=part[1])


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    with pytest.raises(UserError, match="no such audio file, but a folder, a pipe or a device"):
        load_waveform(tmp_path / "x.wav")


def test_an_empty_file_is_called_empty(tmp_path):
    with pytest.raises(UserError, match="is empty"):
        load(tmp_path, b"")
