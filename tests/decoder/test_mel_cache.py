from __future__ import annotations

import numpy as np
import pytest
import torch

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import load_waveform, save_waveform
from cslm.decoder.decoder_data import choose_rows, prepare_mels
from cslm.decoder.mel_cache import MELS_FILE, AudioPart, build_mel_cache, open_mel_cache
from cslm.errors import UserError
from cslm.units.store import UnitStore
from tests.worlds.tone_voices import TINY, VOICES


def parts_of(tones, num):
    lengths = [load_waveform(tones / f"u{i}.wav")[0] for i in range(num)]
    return [AudioPart(str(tones / f"u{i}.wav"), None, None, len(w) / 22050) for i, w in enumerate(lengths)]


def test_frames_are_those_of_the_file(tones, tmp_path):
    cache = build_mel_cache(tmp_path, parts_of(tones, 3), TINY, num_workers=2)
    waveform, _ = load_waveform(tones / "u1.wav")
    expected = LogMel(22050, 1024, 256, 80, 0.0, 8000.0)(torch.from_numpy(waveform)).numpy()
    assert len(cache) == 3 and cache.num_frames[1] == len(expected)
    np.testing.assert_allclose(cache.read(1, 5, 20), expected[5:25], atol=5e-3)


def test_mean_and_deviation_are_over_all_frames(tones, tmp_path):
    cache = build_mel_cache(tmp_path, parts_of(tones, 3), TINY, num_workers=1)
    frames = np.concatenate([cache.read(i, 0, int(n)) for i, n in enumerate(cache.num_frames)])
    np.testing.assert_allclose(cache.mean, frames.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(cache.deviation, np.maximum(frames.std(axis=0), 0.01), atol=0.01)


def test_computed_once_and_again_for_other_audio(tones, tmp_path):
    build_mel_cache(tmp_path, parts_of(tones, 2), TINY, num_workers=1)
    first = (tmp_path / MELS_FILE).stat().st_mtime_ns
    build_mel_cache(tmp_path, parts_of(tones, 2), TINY, num_workers=1)
    assert (tmp_path / MELS_FILE).stat().st_mtime_ns == first
    assert len(build_mel_cache(tmp_path, parts_of(tones, 3), TINY, num_workers=1)) == 3
    assert len(open_mel_cache(tmp_path)) == 3


def test_audio_that_is_not_as_long_as_its_units(tones, tmp_path):
    part = AudioPart(str(tones / "u0.wav"), None, None, 77.0)
    with pytest.raises(UserError, match=r"u0\.wav lasts .* its units in the store 77\.00 s"):
        build_mel_cache(tmp_path / "mels", [part], TINY, num_workers=1)
    assert not (tmp_path / "mels").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.wav"):
        build_mel_cache(tmp_path, [AudioPart(str(tmp_path / "nowhere.wav"), None, None, 1.0)], TINY, num_workers=1)


def test_a_part_of_a_file(tones, tmp_path):
    cache = build_mel_cache(tmp_path, [AudioPart(str(tones / "u0.wav"), 0.2, 0.4, 0.4)], TINY, num_workers=1)
    assert cache.num_frames.tolist() == [1 + round(0.4 * 22050) // 256]


def test_a_manifest_of_another_corpus(tones, tmp_path):
    store = UnitStore.open(tones / "units")
    rows, _ = choose_rows(store, VOICES, None, seed=0)
    save_waveform(tmp_path / "x.wav", np.zeros(800, np.float32), 8000)
    (tmp_path / "m.jsonl").write_text('{"id": "x", "audio": "x.wav", "text": "x", "language": "en"}\n')
    with pytest.raises(UserError, match=r"m\.jsonl misses 12 utterances .* 'u0'"):
        prepare_mels(store, rows, tmp_path / "m.jsonl", tmp_path / "mels", TINY, num_workers=1)


def test_rows_are_chosen_by_voice(tones):
    store = UnitStore.open(tones / "units")
    rows, voices = choose_rows(store, {"zh": None, "en": ["low"]}, 4, seed=0)
    assert len(rows) == 8 and (np.diff(rows) > 0).all()
    assert [store.row(int(row)).language for row in rows] == [("zh", "en")[voice] for voice in voices]
    again, _ = choose_rows(store, {"zh": None, "en": ["low"]}, 4, seed=0)
    other, _ = choose_rows(store, {"zh": None, "en": ["low"]}, 4, seed=1)
    assert (rows == again).all() and (rows != other).any()
    with pytest.raises(UserError, match=r"voices\.en is \['nobody'\].*its speakers of en: low"):
        choose_rows(store, {"en": ["nobody"]}, None, seed=0)


def test_a_voice_by_another_tag_of_its_language_is_that_voice(tones):
    store = UnitStore.open(tones / "units")
    rows, voices = choose_rows(store, {"zh_CN": None, "EN": ["low"]}, 4, seed=0)
    again, same = choose_rows(store, {"zh": None, "en": ["low"]}, 4, seed=0)
    assert (rows == again).all() and (voices == same).all()
    with pytest.raises(UserError, match="voices names one language twice: zh, cmn are zh, zh"):
        choose_rows(store, {"zh": None, "cmn": None}, 4, seed=0)
