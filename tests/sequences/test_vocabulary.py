from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from transformers import AutoTokenizer

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.sequences.chains import CHAINS
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import save_text_tokenizer
from cslm.sequences.vocabulary import (
    SpeechVocabulary,
    extend_tokenizer,
    from_tokenizer,
    has_speech,
    is_textless,
    textless_tokenizer,
)
from tests.worlds.four_part_chain import MARKED
from tests.worlds.small_village import byte_level_tokenizer, sentences, small_tokenizer
from tokenizers import AddedToken


def text_only():
    return byte_level_tokenizer(["<|end_of_text|>", "<|eot_id|>"], None, "<|eot_id|>", None)


def test_units_come_after_the_text_and_markers_after_the_units():
    tokenizer = text_only()
    num_text_ids = len(tokenizer)
    before = [tokenizer.encode(text) for text in sentences()]
    vocabulary = extend_tokenizer(tokenizer, [256])
    assert vocabulary.num_text_ids == vocabulary.first_unit_id == num_text_ids
    assert vocabulary.marker_ids == tuple(range(num_text_ids + 256, num_text_ids + 260))
    assert tokenizer.convert_ids_to_tokens(list(range(num_text_ids, vocabulary.size))) == vocabulary.tokens()
    assert vocabulary.tokens()[:2] == ["<0>", "<1>"]
    assert vocabulary.tokens()[-4:] == ["<sosp>", "<eosp>", "[question]", "[answer]"]
    assert [tokenizer.encode(text) for text in sentences()] == before
    assert vocabulary.padded_size % 64 == 0 and 0 <= vocabulary.padded_size - vocabulary.size < 64


def test_extending_twice_changes_nothing_and_another_layout_is_refused():
    tokenizer = text_only()
    vocabulary = extend_tokenizer(tokenizer, [256])
    size = len(tokenizer)
    assert extend_tokenizer(tokenizer, [256]) == vocabulary
    assert len(tokenizer) == size
    with pytest.raises(UserError, match=r"\[256\].*\[512\]"):
        extend_tokenizer(tokenizer, [512])


def test_the_layout_of_another_author_is_read_as_it_is():
    tokenizer = text_only()
    tokenizer.add_tokens(
        [AddedToken(token, normalized=False) for token in ["[question]", "[answer]", "<sosp>", "<eosp>"]]
    )
    tokenizer.add_tokens([AddedToken(f"<{unit}>", normalized=False) for unit in range(100)])
    vocabulary = from_tokenizer(tokenizer)
    assert vocabulary.codebook_sizes == (100,)
    assert vocabulary.first_unit_id == vocabulary.num_text_ids + 4
    assert vocabulary.sosp == vocabulary.num_text_ids + 2
    assert vocabulary.size == len(tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(range(vocabulary.num_text_ids, len(tokenizer)))) == vocabulary.tokens()


def test_a_tokenizer_without_speech_or_with_scattered_units_is_refused():
    tokenizer = text_only()
    assert not has_speech(tokenizer)
    with pytest.raises(UserError, match="<sosp>"):
        from_tokenizer(tokenizer)
    tokenizer.add_tokens(["<0>", "<sosp>", "<1>", "<eosp>", "[question]", "[answer]"])
    with pytest.raises(UserError, match="<1> has id"):
        from_tokenizer(tokenizer)


def test_several_codebooks():
    tokenizer = text_only()
    vocabulary = extend_tokenizer(tokenizer, [8, 4])
    assert vocabulary.tokens()[7:10] == ["<7>", "<1:0>", "<1:1>"]
    assert from_tokenizer(tokenizer) == vocabulary
    ids = vocabulary.unit_ids(np.array([[7, 3], [0, 1]]))
    assert ids.tolist() == [
        vocabulary.unit_id(7),
        vocabulary.unit_id(3, 1),
        vocabulary.unit_id(0),
        vocabulary.unit_id(1, 1),
    ]


@given(arrays(np.int64, st.tuples(st.integers(0, 20), st.just(3)), elements=st.integers(0, 4)))
def test_units_to_ids_and_back(units):
    vocabulary = SpeechVocabulary.after_text(100, [8, 5, 6])
    ids = vocabulary.unit_ids(units)
    assert np.array_equal(vocabulary.units_from_ids(ids), units)
    assert vocabulary.is_unit(ids).all()
    assert bool(vocabulary.is_unit(torch.from_numpy(ids)).all())


def test_units_are_read_up_to_what_is_out_of_turn():
    vocabulary = SpeechVocabulary.after_text(100, [8, 5])
    ids = [vocabulary.unit_id(1), vocabulary.unit_id(2, 1), vocabulary.unit_id(3), vocabulary.unit_id(4)]
    assert vocabulary.units_from_ids(np.array(ids)).tolist() == [[1, 2]]
    assert vocabulary.units_from_ids(np.array(ids[:3])).tolist() == [[1, 2]]
    assert vocabulary.units_from_ids(np.array([], dtype=np.int64)).shape == (0, 2)


@pytest.mark.parametrize("sizes", [[8], [8, 5]])
def test_units_of_another_card_are_refused(sizes):
    vocabulary = SpeechVocabulary.after_text(100, sizes)
    with pytest.raises(UserError, match="unit 8"):
        vocabulary.unit_ids(np.full((2, len(sizes)), 8))
    with pytest.raises(UserError, match="codebooks"):
        vocabulary.unit_ids(np.zeros((2, 3), dtype=np.int64))


def test_the_layout_survives_a_configuration():
    vocabulary = SpeechVocabulary.after_text(100, [8, 5])
    assert SpeechVocabulary.from_dict({**vocabulary.to_dict(), "fingerprint": "abc"}) == vocabulary


def test_padding_and_text_are_no_units():
    vocabulary = SpeechVocabulary.after_text(100, [8])
    inside = vocabulary.is_unit(np.arange(vocabulary.padded_size))
    assert np.flatnonzero(inside).tolist() == list(range(100, 108))


FURTHER = ["[translation]", "[thought]"]


@pytest.fixture
def more_chains(monkeypatch):
    """A chain that writes two markers beside the four."""
    monkeypatch.setitem(CHAINS, "four_parts", MARKED)


def test_markers_of_further_chains_come_behind_the_four(tmp_path, more_chains):
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    plain = SpeechVocabulary.after_text(len(tokenizer), [8])
    vocabulary = extend_tokenizer(tokenizer, [8], FURTHER)
    assert dict(vocabulary.further) == {"[translation]": plain.size, "[thought]": plain.size + 1}
    assert vocabulary.marker_ids == (*plain.marker_ids, plain.size, plain.size + 1)
    assert vocabulary.tokens() == [*plain.tokens(), *FURTHER] and vocabulary.size == len(tokenizer)
    assert from_tokenizer(tokenizer) == vocabulary == extend_tokenizer(tokenizer, [8], FURTHER)
    text = "[translation] is text"
    assert not set(SequenceFormat(tokenizer).encoder.encode(text)) & set(vocabulary.marker_ids)


def test_a_tokenizer_with_units_gets_the_markers_that_it_lacks(tmp_path, more_chains):
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    before = extend_tokenizer(tokenizer, [8])
    assert before.further == {} and from_tokenizer(tokenizer) == before
    after = extend_tokenizer(tokenizer, [8], ["[question]", "[thought]"])
    assert after.further == {"[thought]": before.size} and after.tokens() == [*before.tokens(), "[thought]"]


def test_layouts_with_and_without_further_markers_are_read_both_ways():
    plain = SpeechVocabulary.after_text(100, [8])
    names = ["num_text_ids", "codebook_sizes", "first_unit_id", "sosp", "eosp", "question", "answer"]
    assert list(plain.to_dict()) == names
    more = SpeechVocabulary.after_text(100, [8], FURTHER)
    assert SpeechVocabulary.from_dict(json.loads(json.dumps(more.to_dict()))) == more
    assert {name: more.to_dict()[name] for name in names} == plain.to_dict()  # what an older release reads
    assert hash(more) == hash(SpeechVocabulary.from_dict(more.to_dict()))


def test_units_may_stand_without_any_text():
    vocabulary = SpeechVocabulary.after_text(0, [8])
    assert (vocabulary.first_unit_id, vocabulary.sosp, vocabulary.size) == (0, 8, 12)
    assert vocabulary.units_from_ids(vocabulary.unit_ids(np.array([[0], [7]]))).tolist() == [[0], [7]]


@pytest.mark.parametrize(("sizes", "merge"), [((8,), False), ((8,), True), ((4, 3), False)])
def test_a_textless_layout_is_units_and_what_ends_a_document(sizes, merge):
    vocabulary = SpeechVocabulary.without_text(sizes, merge)
    num_units = sum(sizes)
    assert (vocabulary.first_unit_id, vocabulary.end_of_document, vocabulary.size) == (0, num_units, num_units + 1)
    assert vocabulary.padded_size == 64 and vocabulary.is_textless and vocabulary.merges_repeats is merge
    assert vocabulary.markers == {} and vocabulary.around_speech == (num_units, num_units)
    with pytest.raises(UserError, match="is textless .* has no <sosp>"):
        _ = vocabulary.sosp
    assert SpeechVocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict()))) == vocabulary
    assert "sosp" not in vocabulary.to_dict()
    tokenizer = textless_tokenizer(sizes, merge)
    assert from_tokenizer(tokenizer) == vocabulary and has_speech(tokenizer) and is_textless(tokenizer)
    assert not is_textless(text_only())


@pytest.mark.parametrize(
    "model_type", ["llama", "qwen2", "qwen3", "qwen3_5_text", "gpt2", "gemma3_text", "phi3", "opt"]
)
@pytest.mark.parametrize("merge", [False, True])
def test_a_textless_tokenizer_opens_as_it_was_saved_beside_any_model(tmp_path, model_type, merge):
    """Beside a Qwen2, transformers 5 made a tokenizer of Qwen2's class of the file, which read no unit any more."""
    sizes, last = ((12,), "<11>") if merge else ((8, 4), "<1:3>")
    save_text_tokenizer(textless_tokenizer(sizes, merge), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert from_tokenizer(tokenizer) == SpeechVocabulary.without_text(sizes, merge)
    assert tokenizer(f"<3>{last} <0><|endoftext|>").input_ids == [3, 11, 0, 12]
    assert tokenizer.decode([3, 11, 12]) == f"<3>{last}<|endoftext|>"
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 12 and not tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "again")
    assert from_tokenizer(AutoTokenizer.from_pretrained(tmp_path / "again")) == from_tokenizer(tokenizer)


def test_no_text_is_added_to_a_textless_tokenizer_and_it_holds_nothing_else():
    tokenizer = textless_tokenizer([8])
    with pytest.raises(UserError, match="textless model, which text cannot be added to"):
        extend_tokenizer(tokenizer, [8])
    tokenizer.add_tokens(["word"])
    with pytest.raises(UserError, match="8 units and no text, and 10 ids in all"):
        from_tokenizer(tokenizer)


def test_a_textless_format_has_documents_of_units_and_neither_text_nor_turns():
    form = SequenceFormat(textless_tokenizer([8]))
    units = Units(np.array([[3], [5]]), np.array([2, 1]))
    document = form.document("speech", "fr", lambda builder: builder.add_units(units))
    assert document.ids.tolist() == [3, 3, 5, 8] and document.trained.all()
    assert [(span.modality, span.language) for span in document.spans] == [("speech", "fr"), ("template", "fr")]
    assert form.opening("speech", "fr", lambda builder: builder.add_units(units)).ids.tolist() == [3, 3, 5]
    assert form.render(document) == "<3><3><5><|endoftext|>" and form.end_ids == (8,) and form.word_ids == frozenset()
    for ask in (lambda: form.encoder, lambda: form.chat, lambda: form.prompt("asr", [])):
        with pytest.raises(UserError, match="is textless"):
            ask()


def test_merged_units_are_merged_across_sentences_as_in_the_joined_recording():
    form = SequenceFormat(textless_tokenizer([8], merge_repeats=True))
    first, second = Units(np.array([[3], [5]]), np.array([2, 1])), Units(np.array([[5], [1]]), np.array([4, 1]))

    def write(builder):
        builder.add_units(first)
        builder.add_units(second)

    assert form.document("stories", "en", write).ids.tolist() == [3, 5, 1, 8]
