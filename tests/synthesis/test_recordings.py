"""Recordings: made once, named by what decides them, and only those in which something is heard."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.recordings import Recording, RecordingConfig, Recordings, Wanted
from tests.worlds.named_tones import NamedTones

TOM = Wanted("Tom ran.", "en", "anna")


def test_a_recording_is_made_once_and_shared(tmp_path):
    tones = NamedTones()
    recordings = Recordings(tmp_path, tones, RecordingConfig())
    first = recordings.record([TOM, Wanted("A dog.", "en", "anna"), TOM])
    assert first[0] == first[2] != first[1]
    assert recordings.record([TOM]) == first[:1]
    assert tones.said == [("Tom ran.", "en", "anna"), ("A dog.", "en", "anna")]
    assert soundfile.info(tmp_path / first[0].path).duration == pytest.approx(first[0].duration_sec)


def test_text_voice_and_synthesizer_name_the_file_and_the_folder_does_not(tmp_path):
    def path(folder, wanted=TOM, **options):
        (found,) = Recordings(tmp_path / folder, NamedTones(**options), RecordingConfig()).record([wanted])
        return found.path

    assert path("a") == path("b")
    others = [path("a", Wanted("Tom ran!", "en", "anna")), path("a", Wanted("Tom ran.", "fr", "anna"))]
    others += [path("a", Wanted("Tom ran.", "en", "bert")), path("a", version=2)]
    assert len({path("a"), *others}) == 5


def test_the_order_of_texts_is_kept_whatever_the_voices(tmp_path):
    wanted = [Wanted(f"text {number}", "en", "ab"[number % 2]) for number in range(7)]
    found = Recordings(tmp_path, NamedTones(names=("a", "b")), RecordingConfig()).record(wanted)
    again = [
        Recordings(tmp_path / "2", NamedTones(names=("a", "b")), RecordingConfig()).record([one])[0] for one in wanted
    ]
    assert found == again


def test_the_rate_of_the_files_can_be_chosen(tmp_path):
    (found,) = Recordings(tmp_path, NamedTones(), RecordingConfig(sample_rate_hz=8000)).record([TOM])
    info = soundfile.info(tmp_path / found.path)
    assert (info.samplerate, info.subtype, info.channels) == (8000, "PCM_16", 1)
    assert found.duration_sec == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [("<silence>", "too short, or silent"), ("<click>", "too short, or silent"), ("<nan>", "no numbers|not numbers"),
     ("<long>", "is longer than 1 s"), ("<fails>", "cannot say")],
)  # fmt: skip
def test_recordings_in_which_nothing_is_said_are_failures_and_leave_no_file(tmp_path, text, says):
    found = Recordings(tmp_path, NamedTones(), RecordingConfig(max_sec=1.0)).record([Wanted(text, "en", "anna"), TOM])
    assert isinstance(found[0], Failure) and isinstance(found[1], Recording)
    assert any(part in found[0].reason for part in says.split("|"))
    assert len(list(tmp_path.rglob("*.wav"))) == 1


def test_a_file_that_was_lost_with_the_power_is_made_again(tmp_path):
    recordings = Recordings(tmp_path, NamedTones(), RecordingConfig())
    (found,) = recordings.record([TOM])
    content = (tmp_path / found.path).read_bytes()
    (tmp_path / found.path).write_bytes(b"")
    assert recordings.record([TOM]) == [found]
    assert (tmp_path / found.path).read_bytes() == content


def test_samples_come_back_from_the_files(tmp_path):
    ((waveform, rate_hz),) = Recordings(tmp_path, NamedTones(), RecordingConfig()).clips([TOM])
    ((wanted, _),) = NamedTones().speak(["Tom ran."], "en", "anna")
    assert rate_hz == 16000
    np.testing.assert_allclose(waveform, wanted, atol=1e-4)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="max_sec"):
        RecordingConfig(min_sec=2.0, max_sec=1.0)
