from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cslm.sequences.interleaving import interleaved
from cslm.units.store import StoreRow
from tests.worlds.small_village import chinese_answer, english_answer, some_units, word_times


def utterance(units, text, words, language):
    return StoreRow("one", language, text, units.num_frames_total / 25, units, words=words)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_spans_go_on_where_the_last_one_ended(form, language):
    text = english_answer("Anna", "baker") if language == "en" else chinese_answer("安娜", "老师")
    units = some_units(100)
    words = word_times(text, language, units.num_frames_total / 25)
    starts, numbers = set(), set()
    for seed in range(20):
        sequence = interleaved(form, utterance(units, text, words, language), 25.0, np.random.default_rng(seed))
        spans = [span for span in sequence.spans if span.modality in ("text", "speech")]
        starts.add(spans[0].modality)
        numbers.add(len(spans))
        assert all(before.modality != after.modality for before, after in pairwise(spans))
        read = [form.encoder.decode(sequence.ids[span.start : span.stop]) for span in spans if span.modality == "text"]
        assert all(part.strip() in text for part in read)
        spoken = sum(span.stop - span.start for span in spans if span.modality == "speech")
        assert 0 <= spoken <= len(units) + len(spans)  # a run across a cut is cut in two
    assert starts == {"text", "speech"}
    assert len(numbers) > 2


@pytest.mark.parametrize(("spans", "first"), [("heard", "speech"), ("spoken", "text")])
def test_side_by_side_every_word_stands_both_ways(form, spans, first):
    text, units = english_answer("Anna", "baker"), some_units(100)
    words = word_times(text, "en", units.num_frames_total / 25)
    sequence = interleaved(form, utterance(units, text, words, "en"), 25.0, np.random.default_rng(3), spans, 2.0)
    parts = [span for span in sequence.spans if span.modality in ("text", "speech")]
    second = {"text": "speech", "speech": "text"}[first]
    assert [span.modality for span in parts] == [first, second] * (len(parts) // 2)
    written = "".join(
        form.encoder.decode(sequence.ids[span.start : span.stop]) for span in parts if span.modality == "text"
    )
    assert written.replace(" ", "") == text.replace(" ", "")
    spoken = sum(span.stop - span.start for span in parts if span.modality == "speech")
    assert len(units) <= spoken <= len(units) + len(parts)
    learnt = [bool(sequence.trained[span.start : span.stop].all()) for span in parts]
    assert learnt == [False, True] * (len(parts) // 2)
    assert [bool(sequence.trained[span.start : span.stop].any()) for span in parts] == learnt


@pytest.mark.parametrize("language", ["en", "zh"])
def test_spans_never_cut_a_token(form, language):
    """Chinese spans of two characters used to split the tokens of names and phrases, which were then never learnt."""
    text = english_answer("Anna", "baker") if language == "en" else chinese_answer("安娜", "老师")
    units = some_units(100)
    words = word_times(text, language, units.num_frames_total / 25)
    whole = form.encoder.encode(text)
    for seed in range(10):
        sequence = interleaved(
            form, utterance(units, text, words, language), 25.0, np.random.default_rng(seed), "heard", 2.0
        )
        texts = [sequence.ids[span.start : span.stop] for span in sequence.spans if span.modality == "text"]
        assert len(texts) > 2
        assert np.concatenate(texts).tolist() == whole


def test_the_same_seed_gives_the_same_document(form):
    text, units = english_answer("Anna", "baker"), some_units(100)
    words = word_times(text, "en", units.num_frames_total / 25)
    first, second = (
        interleaved(form, utterance(units, text, words, "en"), 25.0, np.random.default_rng(7)).ids.tolist()
        for _ in range(2)
    )
    assert first == second


def test_without_word_times_an_utterance_stays_whole(form):
    text, units = english_answer("Anna", "baker"), some_units(30)
    for seed in range(6):
        sequence = interleaved(form, utterance(units, text, None, "en"), 25.0, np.random.default_rng(seed))
        assert len({span.modality for span in sequence.spans} - {"marker", "template"}) == 1
