"""The bigram's probabilities, and PocketSphinx on espeak's English."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cslm.audio.espeak import Synthesizer
from cslm.errors import UserError
from cslm.evaluation.bigram import bigram_arpa
from cslm.evaluation.ears import ear_class
from cslm.evaluation.recognizers import ModelRecognizer

SENTENCES = [
    "Anna works as a baker.",
    "Peter likes the parrot.",
    "Anna likes the doctor.",
    "The farmer works as a teacher.",
]


def test_a_bigram_sums_to_one_after_every_word() -> None:
    sentences = [sentence.lower().rstrip(".").split() for sentence in SENTENCES]
    unigrams, bigrams = {}, {}
    for line in bigram_arpa(sentences).splitlines():
        parts = line.split()
        if len(parts) == 3 and not line.startswith("ngram") and len(line.split("\t")) == 1:
            try:
                unigrams[parts[1]] = (10 ** float(parts[0]), 10 ** float(parts[2]))
            except ValueError:
                bigrams[parts[1], parts[2]] = 10 ** float(parts[0])
    words = [word for word in unigrams if word != "<s>"]
    assert sum(unigrams[word][0] for word in words) == pytest.approx(1, abs=1e-3)
    for word, (_, back_off) in unigrams.items():
        if word != "</s>":
            total = sum(bigrams.get((word, other), back_off * unigrams[other][0]) for other in words)
            assert math.isclose(total, 1, abs_tol=2e-3), word


def test_an_ear_that_never_met_the_model_hears_the_synthesizer() -> None:
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("espeakng_loader")
    ear = ear_class("pocketsphinx")([*SENTENCES, "Xyzzyq works."], num_workers=2)
    assert ear.unknown_words == ["xyzzyq"] and ear.hears("en-GB") and not ear.hears("zh")
    synthesizer = Synthesizer()
    said = [synthesizer.speak(text, "gmw/en-US+f2", 175) for text in SENTENCES[:2]]
    clips = [(speech.waveform.astype(np.float32) / 32768, speech.sample_rate_hz) for speech in said]
    silence = (np.zeros(0, np.float32), 16000)
    heard = ear.transcribe([clips[0], silence, clips[1]], ["en"] * 3)
    assert heard == ["anna works as a baker", "", "peter likes the parrot"]
    assert ear.transcribe([clips[1]], ["en"]) == heard[2:]


def test_unknown_ears_and_empty_models_are_refused() -> None:
    with pytest.raises(UserError, match="choose one of pocketsphinx"):
        ear_class("whisper-9")
    pytest.importorskip("pocketsphinx")
    with pytest.raises(UserError, match="no sentence"):
        ear_class("pocketsphinx")(["安娜。"])


def test_the_models_own_ear_says_nothing_to_silence(model) -> None:  # type: ignore[no-untyped-def]
    from cslm.generation.decoding import DecodingConfig
    from tests.worlds.tiny_checkpoint import tone

    ear = ModelRecognizer(model.tasks(), DecodingConfig(max_new_tokens=5))
    clips = [(np.zeros(0, np.float32), 22050), (tone(0.5, 22050), 22050), (np.zeros(10, np.float32), 22050)]
    texts = ear.transcribe(clips, ["en", "en", "zh"])
    assert texts[0] == texts[2] == "" and isinstance(texts[1], str)
