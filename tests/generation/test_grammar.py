"""The grammar lets through what training writes, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.generation.grammar import UnitGrammar
from cslm.sequences.chain_of_modality import dialogue
from cslm.sequences.chains import CHAINS, Chain, Segment
from cslm.sequences.vocabulary import SpeechVocabulary
from tests.worlds.four_part_chain import MARKED, four_part_format
from tests.worlds.small_village import some_units

VOCABULARY = SpeechVocabulary.after_text(10, (6,))
TWO_CODEBOOKS = SpeechVocabulary.after_text(10, (4, 3))
ROWS = 64


def allowed(vocabulary: SpeechVocabulary, ids: list[int], **options: object) -> set[int]:
    grammar = UnitGrammar(vocabulary, ROWS, nameless=range(vocabulary.size, ROWS), **options)  # type: ignore[arg-type]
    scores = grammar(torch.tensor([ids]), torch.zeros(1, ROWS))
    return set(torch.nonzero(scores[0] > float("-inf"))[:, 0].tolist())


def test_outside_speech_come_text_and_markers_only() -> None:
    v = VOCABULARY
    assert allowed(v, [3]) == {*range(10), v.sosp, v.question, v.answer}
    assert allowed(v, [v.sosp, v.first_unit_id, v.eosp]) == {*range(10), v.sosp, v.question, v.answer}
    assert allowed(v, [3], writes="text") == set(range(10))
    assert allowed(v, [3], writes="speech") == {v.sosp}


def test_speech_is_never_empty_and_never_repeats_a_unit() -> None:
    v, first = VOCABULARY, VOCABULARY.first_unit_id
    assert allowed(v, [v.sosp]) == set(range(first, first + 6))
    assert allowed(v, [v.sosp, first + 2]) == {*range(first, first + 6), v.eosp} - {first + 2}


def test_two_codebooks_come_in_turn_and_close_after_whole_frames() -> None:
    v = TWO_CODEBOOKS
    zero, one = v.codebook_offsets.tolist()
    assert allowed(v, [v.sosp]) == set(range(zero, zero + 4))
    assert allowed(v, [v.sosp, zero + 1]) == set(range(one, one + 3))
    assert allowed(v, [v.sosp, zero + 1, one]) == {*range(zero, zero + 4), v.eosp}


def test_an_instruction_sequence_passes_through_row_by_row() -> None:
    grammar = UnitGrammar(VOCABULARY, ROWS)
    ids = torch.tensor([[3, VOCABULARY.sosp], [VOCABULARY.sosp, VOCABULARY.first_unit_id]])
    together = grammar(ids, torch.zeros(2, ROWS))
    for row in range(2):
        assert torch.equal(together[[row]], grammar(ids[[row]], torch.zeros(1, ROWS)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([VOCABULARY, TWO_CODEBOOKS]))
def test_anything_drawn_under_the_grammar_is_well_formed(seed: int, vocabulary: SpeechVocabulary) -> None:
    generator = torch.Generator().manual_seed(seed)
    grammar = UnitGrammar(vocabulary, ROWS, nameless=range(vocabulary.size, ROWS))
    ids = torch.tensor([[3]])
    for _ in range(60):
        scores = grammar(ids, torch.randn(1, ROWS, generator=generator) * 3)
        drawn = torch.multinomial(scores.softmax(-1), 1, generator=generator)
        ids = torch.cat([ids, drawn], dim=1)
    inside, run = False, 0
    for token_id in ids[0, 1:].tolist():
        assert token_id < vocabulary.size
        assert bool(vocabulary.is_unit(token_id)) == (inside and token_id != vocabulary.eosp)
        if inside:
            if token_id == vocabulary.eosp:
                assert run > 0 and run % len(vocabulary.codebook_sizes) == 0
                inside = False
            run += 1
        elif token_id == vocabulary.sosp:
            inside, run = True, 0


WITH_MORE = SpeechVocabulary.after_text(10, (6,), ["[translation]", "[thought]"])


def test_without_a_chain_every_marker_may_come() -> None:
    v = WITH_MORE
    assert allowed(v, [3]) == {*range(10), *v.marker_ids} - {v.eosp}
    assert allowed(v, [3], writes="text") == set(range(10))


def test_a_chain_allows_its_own_markers_and_none_after_one_of_them() -> None:
    v = WITH_MORE
    assert allowed(v, [3], chain=CHAINS["full"]) == {*range(10), v.sosp, v.question, v.answer}
    assert allowed(v, [3], chain=CHAINS["no_question"]) == {*range(10), v.sosp, v.answer}
    assert allowed(v, [3], chain=MARKED) == {*range(10), *v.marker_ids} - {v.eosp}
    assert allowed(v, [v.further["[thought]"]], chain=MARKED) == set(range(10))
    assert allowed(v, [v.question], chain=MARKED) == set(range(10))


def test_a_model_of_text_alone_writes_all_that_has_a_name() -> None:
    grammar = UnitGrammar(None, ROWS, nameless=range(50, ROWS))
    scores = grammar(torch.tensor([[3]]), torch.zeros(1, ROWS))
    assert torch.nonzero(scores[0] > float("-inf"))[:, 0].tolist() == list(range(50))


def test_a_chain_without_speech_has_none() -> None:
    v, silent = WITH_MORE, Chain(MARKED.segments[:3])
    assert allowed(v, [3], chain=silent) == {*range(10), v.question, *v.further.values()}
    spoken = Chain((Segment("answer", "answer", "speech", "[answer]"),))
    assert allowed(v, [v.answer], chain=spoken) == {v.sosp}


def test_what_a_chain_writes_passes_its_grammar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHAINS, "four_parts", MARKED)
    form = four_part_format(tmp_path / "tokenizer")
    further = {"question_text_en": "Who is Anna?", "answer_text_en": "She works."}
    chunks = [("Anna works,", some_units(4)), (" I think.", some_units(3, 1))]
    sequence = dialogue(form, some_units(3), "谁？", "zh", chunks, "en", "four_parts", further)
    ids = torch.from_numpy(sequence.ids.astype("int64"))[None]
    grammar = UnitGrammar(form.vocabulary, form.vocabulary.padded_size, chain=MARKED)
    for place in range(int(sequence.trained.argmax()), ids.shape[1]):
        scores = grammar(ids[:, :place], torch.zeros(1, form.vocabulary.padded_size))
        assert scores[0, ids[0, place]] == 0
