"""Who tells stories: voices paired by name or by likeness, and the pairs that are not alike enough."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.synthesis.made_records import MadeRecords
from cslm.synthesis.recordings import RecordingConfig, Recordings
from cslm.synthesis.speaker_likeness import SpeakerLikeness
from cslm.synthesis.story_speakers import SpeakersConfig, best_pairs, pair_speakers
from tests.worlds import speech_models
from tests.worlds.named_tones import NamedTones

TEXTS = {"en": ["Tom ran.", "A dog."], "fr": ["Tom courut.", "Un chien."]}


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    """A small speaker-verification model."""
    return speech_models.wavlm_xvector(tmp_path_factory.mktemp("wavlm") / "wavlm-sv")


def paired(folder, config, tones=None, texts=TEXTS):
    tones = tones or NamedTones()
    return pair_speakers(
        config, tones, texts, Recordings(folder, tones, RecordingConfig()), MadeRecords(folder / "records")
    )


def verified(wavlm, **options):
    return SpeakersConfig(verifier=str(wavlm), device="cpu", **options)


def test_names_are_speakers_where_the_synthesizer_says_so(tmp_path):
    rows = paired(tmp_path, SpeakersConfig())
    assert rows[0] == {"id": "anna", "voices": {"en": "anna", "fr": "anna"}, "cosine": None, "kept": True}
    assert [row["id"] for row in rows] == ["anna", "bert", "carl"]
    with pytest.raises(UserError, match="different speakers in each language: give speakers.pairing likeness"):
        paired(tmp_path, SpeakersConfig(), NamedTones(names_are_speakers=False))


def test_only_voices_of_all_languages_are_speakers(tmp_path):
    tones = NamedTones({"en": ["anna", "bert"], "fr": ["bert", "carl"]})
    assert [row["id"] for row in paired(tmp_path, SpeakersConfig(), tones)] == ["bert"]
    with pytest.raises(UserError, match="no voice is in all of en, fr"):
        paired(tmp_path, SpeakersConfig(), NamedTones({"en": ["anna"], "fr": ["carl"]}))


def test_verified_pairs_have_the_cosine_of_their_voices_and_those_below_are_listed(tmp_path, wavlm, capsys):
    tones = NamedTones()
    rows = paired(tmp_path, verified(wavlm, threshold=-1.0))
    likeness = SpeakerLikeness(str(wavlm), None, "cpu")
    for row in rows:
        vectors = []
        for language, texts in TEXTS.items():
            each = [likeness.vector([clip]) for clip in tones.speak(texts, language, row["id"])]
            mean = np.mean(each, axis=0)
            vectors.append(mean / np.linalg.norm(mean))
        assert row["cosine"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-3)
    cosines = sorted(row["cosine"] for row in rows)
    between = (cosines[0] + cosines[1]) / 2
    listed = paired(tmp_path, verified(wavlm, threshold=between))
    assert [row["kept"] for row in listed] == [row["cosine"] > between for row in listed]
    assert sum(row["kept"] for row in listed) == 2
    assert "1 of 3 pairs of voices are not alike enough" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"none of 3 pairs of voices is above the threshold 1 \(the best: 0."):
        paired(tmp_path, verified(wavlm, threshold=1.0))


def test_by_likeness_each_voice_finds_its_own_under_another_name(tmp_path, wavlm):
    """The voices of French are those of English, in another order: the same tones, under the same pitches."""

    names = {"eins": "carl", "zwei": "anna", "drei": "bert"}

    class Renamed(NamedTones):
        def speak(self, texts, language, voice):
            return super().speak(texts, "en", names.get(voice, voice))

    tones = Renamed({"en": ["anna", "bert", "carl"], "fr": ["eins", "zwei", "drei"]}, names_are_speakers=False)
    texts = {"en": TEXTS["en"], "fr": TEXTS["en"]}
    rows = paired(tmp_path, verified(wavlm, pairing="likeness"), tones, texts)
    assert {row["voices"]["en"]: row["voices"]["fr"] for row in rows} == {
        "anna": "zwei",
        "bert": "drei",
        "carl": "eins",
    }
    assert all(row["kept"] and row["cosine"] > 0.999 for row in rows)


def test_so_many_speakers_and_no_more(tmp_path, wavlm):
    assert [row["kept"] for row in paired(tmp_path, SpeakersConfig(max_speakers=2))] == [True, True, False]
    rows = paired(tmp_path, verified(wavlm, threshold=-1.0, max_speakers=1))
    best = max(rows, key=lambda row: row["cosine"])
    assert [row["id"] for row in rows if row["kept"]] == [best["id"]]


def test_what_was_heard_is_not_heard_again(tmp_path, wavlm):
    config, tones = verified(wavlm, threshold=-1.0), NamedTones()
    first = paired(tmp_path, config, tones)
    count = len(tones.said)
    assert paired(tmp_path, config, tones) == first and len(tones.said) == count == 12


def test_a_voice_that_says_nothing_is_named(tmp_path, wavlm):
    with pytest.raises(UserError, match="the voice anna of fr says none of 1 sentences"):
        paired(tmp_path, verified(wavlm), texts={"en": ["Tom."], "fr": ["<fails>"]})


def test_no_voice_is_paired_twice():
    cosines = np.array([[0.9, 0.95], [0.8, 0.94], [0.1, 0.2]], np.float32)
    assert best_pairs(cosines) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"pairing": "age"}, "choose one of name, likeness"), ({"pairing": "likeness"}, "give speakers.verifier"),
     ({"threshold": 2}, "threshold"), ({"max_speakers": 0}, "max_speakers")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        SpeakersConfig(**options)


def test_a_model_without_x_vectors_is_refused(tmp_path):
    from tests.worlds.ssl_models import save_model

    with pytest.raises(UserError, match=r"speakers.verifier: .* has no weights for"):
        SpeakerLikeness(str(save_model("wavlm_base", tmp_path / "wavlm")), None, "cpu")
