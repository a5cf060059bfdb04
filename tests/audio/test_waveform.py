"""Reading and writing waveforms."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import soundfile

from cslm.audio.waveform import load_waveform, resample, save_waveform, to_int16
from cslm.errors import UserError


def tone(duration_sec=0.5, rate_hz=16000, frequency_hz=440.0):
    return (0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(int(duration_sec * rate_hz)) / rate_hz)).astype(
        np.float32
    )


def test_what_is_saved_is_loaded(tmp_path):
    save_waveform(tmp_path / "deep" / "a.wav", tone(), 16000)
    waveform, rate_hz = load_waveform(tmp_path / "deep" / "a.wav")
    assert rate_hz == 16000 and waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, tone(), atol=1 / 32000)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.wav"]


def test_same_samples_same_bytes(tmp_path):
    for name in ("a.wav", "b.wav"):
        save_waveform(tmp_path / name, tone(), 16000)
    assert (
        hashlib.sha256((tmp_path / "a.wav").read_bytes()).digest()
        == hashlib.sha256((tmp_path / "b.wav").read_bytes()).digest()
    )


def test_loud_samples_are_clipped_and_int16_is_kept():
    np.testing.assert_array_equal(to_int16(np.array([2.0, -2.0, 0.5])), [32767, -32768, 16384])
    kept = np.array([1, -7], dtype=np.int16)
    assert to_int16(kept) is kept


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), -tone()], axis=1), 16000)
    waveform, _ = load_waveform(tmp_path / "a.wav")
    assert waveform.shape == (8000,) and np.abs(waveform).max() < 1e-4


def test_a_part_at_another_rate(tmp_path):
    save_waveform(tmp_path / "a.wav", tone(1.0), 16000)
    whole, _ = load_waveform(tmp_path / "a.wav")
    part, rate_hz = load_waveform(tmp_path / "a.wav", start_sec=0.25, duration_sec=0.5)
    assert rate_hz == 16000
    np.testing.assert_array_equal(part, whole[4000:12000])
    resampled, rate_hz = load_waveform(tmp_path / "a.wav", sample_rate_hz=22050)
    assert rate_hz == 22050 and len(resampled) == 22050


def test_an_fsspec_url_is_read():
    import fsspec

    with fsspec.open("memory://clips/a.wav", "wb") as file:
        soundfile.write(file, tone(), 16000, format="WAV")
    waveform, rate_hz = load_waveform("memory://clips/a.wav")
    assert rate_hz == 16000 and len(waveform) == 8000


def test_resampling_keeps_the_tone():
    there_and_back = resample(resample(tone(), 16000, 22050), 22050, 16000)
    np.testing.assert_allclose(there_and_back[500:-500], tone()[500:-500], atol=2e-3)
    np.testing.assert_array_equal(resample(tone(), 16000, 16000), tone())


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such audio file"), (b"these are no samples", "cannot be read as audio"), (b"", "cannot be read")],
)
def test_bad_files_are_named(tmp_path, content, says):
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        load_waveform(path)
    assert str(path) in str(error.value)


def test_no_samples_and_no_numbers(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32), 16000)
    with pytest.raises(UserError, match="no samples"):
        load_waveform(tmp_path / "empty.wav")
    broken = tone()
    broken[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, 16000, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        load_waveform(tmp_path / "nan.wav")


def test_a_part_outside_the_file(tmp_path):
    save_waveform(tmp_path / "a.wav", tone(), 16000)
    with pytest.raises(UserError, match=r"0\.500 s"):
        load_waveform(tmp_path / "a.wav", start_sec=3.0)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "AIFF", "W64", "RF64"])
def test_a_file_cut_short_is_refused_not_read_in_part(tmp_path, kind):
    soundfile.write(tmp_path / "whole", tone(2.0), 16000, format=kind)
    assert len(load_waveform(tmp_path / "whole")[0]) == pytest.approx(32000, abs=1600)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="half: (is cut short|cannot be read as audio)"):
        load_waveform(tmp_path / "half")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_to_a_pipe_does_not_know_its_length(tmp_path, size):
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    assert len(load_waveform(tmp_path / "a.wav")[0]) == 16000


def test_a_part_that_goes_past_the_end(tmp_path):
    save_waveform(tmp_path / "a.wav", tone(1.0), 16000)
    assert len(load_waveform(tmp_path / "a.wav", 0.5, 0.55)[0]) == 8000  # a duration that was rounded
    with pytest.raises(UserError, match="asked for 2.0 s from 0.5 s on, but the file holds 1.000 s"):
        load_waveform(tmp_path / "a.wav", 0.5, 2.0)


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        save_waveform(tmp_path / "a.wav", tone(), 16000)
    assert list(tmp_path.iterdir()) == []
