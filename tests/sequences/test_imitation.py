"""Requests over a transcript or its speech, and replies that are imitated: one template, id by id."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cslm.sequences.imitation import Target, heard_request, imitated, text_request
from cslm.sequences.interleaved_vectors import Vectors, interleaved_pieces
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task_pool import Asked, Prompt, read_pool
from tests.worlds.real_templates import TEMPLATES, real_tokenizer
from tests.worlds.small_village import chinese_answer, english_answer, word_times

PLACEHOLDER = 7
KINDS = ["byte-level", "sentencepiece"]
DURATION_SEC, NUM_VECTORS = 8.0, 40
ASKED = [Asked("Sum up:\n", ""), Asked("", "\nIn short?"), Asked("", ""), Asked("Say ", " again.")]


class NoClip:
    """Never read here."""

    def read(self) -> np.ndarray:
        raise AssertionError


def spoken(language: str) -> tuple[str, list]:
    text = english_answer("Anna", "baker") if language == "en" else chinese_answer("安娜", "老师")
    return text, word_times(text, language, DURATION_SEC)


def draw(form: SequenceFormat, share: float, seed: int, language: str = "en", **other: object) -> list:
    text, words = spoken(language)
    return interleaved_pieces(form, text, words, NUM_VECTORS, DURATION_SEC, share, np.random.default_rng(seed), **other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("asked", ASKED)
def test_an_input_that_is_replaced_altogether_has_the_ids_of_the_text(kind, template, asked):
    form = SequenceFormat(real_tokenizer(kind, template))
    text, _ = spoken("en")
    pieces = draw(form, 1.0, 0)
    assert pieces == [text]
    plain, heard = text_request(text, asked, "en"), heard_request(pieces, NoClip(), PLACEHOLDER, asked, "en")
    target = Target([5, 6, 9], False, "en")
    one, other = imitated(form, plain, target), imitated(form, heard, target)
    assert one.ids.tolist() == other.ids.tolist()
    assert one.trained.tolist() == other.trained.tolist()
    assert other.clips == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_prompt_of_targets_is_the_beginning_of_what_is_trained(kind, template):
    form = SequenceFormat(real_tokenizer(kind, template))
    request = text_request("Anna bakes bread.", Asked("Sum up:\n", ""), "en")
    prompt = form.prompt("summary", request).ids.tolist()
    ids = [5, 6, 9]
    whole, cut_off = (imitated(form, request, Target(ids, truncated, "en")) for truncated in (False, True))
    assert whole.ids.tolist()[: len(prompt) + 3] == [*prompt, *ids]
    assert cut_off.ids.tolist() == [*prompt, *ids]
    learnt = np.flatnonzero(cut_off.trained)
    assert learnt.tolist() == [len(prompt), len(prompt) + 1, len(prompt) + 2]
    ends = form.chat.end_of_turn_ids
    assert whole.trained[: len(prompt)].sum() == 0
    assert set(whole.ids[len(prompt) + 3 :][whole.trained[len(prompt) + 3 :]].tolist()) & set(ends)


def test_the_places_of_a_clip_are_never_learnt_and_take_its_vectors_in_order(form):
    target = Target([5, 6], False, "en")
    clip = NoClip()
    pieces = [Vectors(0, 3), " bakes", Vectors(5, 9)]
    sequence = imitated(form, heard_request(pieces, clip, PLACEHOLDER, Asked("Sum up:\n", ""), "en"), target)
    assert [(it.stop - it.start, it.first) for it in sequence.clips] == [(3, 0), (4, 5)]
    for placed in sequence.clips:
        assert placed.clip is clip
        assert set(sequence.ids[placed.start : placed.stop].tolist()) == {PLACEHOLDER}
        assert not sequence.trained[placed.start : placed.stop].any()


def covered(pieces: list) -> tuple[str, int]:
    texts = "".join(piece for piece in pieces if isinstance(piece, str))
    return texts, sum(piece.stop - piece.start for piece in pieces if isinstance(piece, Vectors))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_share_is_the_clip_alone_and_half_of_it_is_half(form, language):
    assert draw(form, 0.0, 0, language) == [Vectors(0, NUM_VECTORS)]
    shares = []
    for seed in range(100):
        pieces = draw(form, 0.5, seed, language, span_words=1.5)
        texts, vectors = covered(pieces)
        assert all(type(one) is not type(other) for one, other in pairwise(pieces))
        ranges = [piece for piece in pieces if isinstance(piece, Vectors)]
        assert all(one.stop <= other.start for one, other in pairwise(ranges))
        assert 0 < vectors < NUM_VECTORS
        shares.append(len(texts) / len(spoken(language)[0]))
    assert abs(np.mean(shares) - 0.5) < 0.05


def test_what_is_text_is_not_heard_and_what_is_heard_is_not_text(form):
    """Words of a second each and five vectors a second: every piece lies where its words are said."""
    text = "one two three four five six seven eight"
    words = [(word, float(index), index + 1.0) for index, word in enumerate(text.split())]
    drawn = set()
    for seed in range(50):
        pieces = interleaved_pieces(form, text, words, 40, 8.0, 0.4, np.random.default_rng(seed), span_words=1.0)
        place = 0
        for piece in pieces:
            if isinstance(piece, str):
                assert text[place:].startswith(piece.strip()) or piece.strip() in text
                said = text.split().index(piece.split()[0])
                assert said * 5 == place
                place += 5 * len(piece.split())
            else:
                assert piece.start == place
                place = piece.stop
        assert place == 40
        drawn.add(tuple(pieces))
    assert len(drawn) > 20


def test_without_word_times_nothing_is_replaced(form):
    for words in (None, [("other", 0.0, 1.0)]):
        pieces = interleaved_pieces(form, "Anna bakes.", words, 9, 2.0, 0.9, np.random.default_rng(0))
        assert pieces == [Vectors(0, 9)]
    assert interleaved_pieces(form, "Anna bakes.", None, 9, 2.0, 1.0, np.random.default_rng(0)) == ["Anna bakes."]


def test_words_that_no_vector_tells_apart_go_together(form):
    text = "a b c d"
    words = [(word, index * 0.01, (index + 1) * 0.01) for index, word in enumerate(text.split())]
    pieces = interleaved_pieces(form, text, words, 2, 2.0, 0.5, np.random.default_rng(1), span_words=1.0)
    assert pieces in ([Vectors(0, 2)], [text])


def test_the_pool_writes_prompts_that_training_writes_too(form):
    pool = read_pool()
    asked = pool.asked(Prompt("continuation", 0), "en")
    request = text_request("Anna bakes.", asked, "en")
    written = form.render(form.prompt("continuation", request))
    assert "Continue this text in fewer than forty words: Anna bakes." in written
