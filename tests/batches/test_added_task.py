"""A task and a chain that the package does not know: a record and a line each, from a source to rows and a prompt."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import parse_reply
from cslm.sequences.chains import CHAINS
from cslm.sequences.conversations import writes
from cslm.sequences.prompts import prompt_for
from cslm.sequences.sequence_format import Turn
from cslm.sequences.tasks import TASKS, Task
from cslm.sequences.text_encoder import after_space
from tests.worlds.four_part_chain import MARKED, four_part_format
from tests.worlds.small_village import english_answer
from tests.worlds.small_world import open_stream, write_lines

SIZES = {"tokens_per_step": 900, "tokens_per_micro_batch": 500, "max_length": 500, "seed": 3}
INSTRUCTION = "Say it in one word. This is input: "


def ask_for_a_word(asked) -> list[Turn]:
    return [Turn("user", asked.language, writes(asked.text_for("one_word"), after=INSTRUCTION))]


def one_word(form, example, draw):
    """The task: a text, and the one word that says it; later in the training the word alone, without its full stop."""
    document, language = example.document, example.document["language"]
    word = document["word"] if draw.progress >= 0.5 else document["word"] + "."
    request = [Turn("user", language, writes(document["text"], after=INSTRUCTION))]
    return form.conversation("one_word", [*request, Turn("assistant", language, writes(word))])


def texts_of_one_word(document):
    yield after_space(document["text"])
    yield document["word"]


ONE_WORD = Task("documents", one_word, ("documents",), ("language", "text", "word"), ask_for_a_word, texts_of_one_word)


@pytest.fixture(autouse=True)
def added(monkeypatch):
    monkeypatch.setitem(TASKS, "one_word", ONE_WORD)
    monkeypatch.setitem(CHAINS, "four_parts", MARKED)


@pytest.fixture
def words(tmp_path) -> SourceConfig:
    lines = [{"language": "en", "text": english_answer("Anna", it), "word": it} for it in ("baker", "teacher")]
    return SourceConfig("one_word", 1, documents=write_lines(tmp_path / "words.jsonl", lines))


@pytest.fixture
def four(tmp_path):
    return four_part_format(tmp_path / "tokenizer")


@pytest.fixture
def dialogues(world, tmp_path) -> SourceConfig:
    """The dialogues of the small world with the texts that the chain of four parts writes besides."""
    with open(world["dialogue"].documents, encoding="utf-8") as lines:
        documents = [json.loads(line) for line in lines]
    more = {"question_text_en": "Who?", "answer_text_en": "Anna."}
    path = write_lines(tmp_path / "dialogues.jsonl", [document | more for document in documents])
    return dataclasses.replace(world["dialogue"], documents=path, order="four_parts")


def learnt_in(stream, form) -> str:
    """What is learnt in the first documents; a step of them can be made."""
    assert stream.step({}).consumed
    documents = [stream.document(slot)[1] for slot in range(4)]
    return form.encoder.surface([int(id_) for document in documents for id_ in document.ids[document.trained]])


def test_an_added_task_is_trained(words, form):
    stream = open_stream({"words": words}, form, **SIZES)
    assert {"one_word/text/en", "one_word/template/en"} <= set(stream.groups)
    assert "teacher" in learnt_in(stream, form) and "baker" in learnt_in(stream, form)


def test_an_added_task_is_asked_for_as_it_was_trained(words, form):
    source = open_sources({"words": words}, form)["words"]
    document = source.sequence(0, 0)
    prompt = prompt_for(form, "one_word", language="en", text=english_answer("Anna", "baker"))
    assert document.ids[: int(document.trained.argmax())].tolist() == prompt.tolist()


def test_an_added_task_knows_how_far_the_training_is(words, form):
    source = open_sources({"words": words}, form)["words"]
    assert form.render(source.sequence(0, 0, 0.1)).endswith("baker.<|end|>")
    assert form.render(source.sequence(0, 0)) == form.render(source.sequence(0, 0, 1.0))
    assert form.render(source.clean_sequence(0, 0, 0.9)).endswith("baker<|end|>")


def test_an_added_task_reads_its_own_keys_and_fields_alone(words, form, tmp_path):
    with pytest.raises(UserError, match="task one_word, which does not read spans"):
        open_sources({"words": dataclasses.replace(words, spans="heard")}, form)
    path = write_lines(tmp_path / "bad.jsonl", [{"language": "en", "text": "One."}])
    with pytest.raises(UserError, match="the field word is missing"):
        open_sources({"words": dataclasses.replace(words, documents=path)}, form)


def test_an_added_chain_is_trained(dialogues, four):
    stream = open_stream({"dialogues": dialogues}, four, **SIZES)
    learnt = learnt_in(stream, four)
    assert "[translation]: Who?; [thought]: Anna.; [answer]: " in learnt and "<sosp>" in learnt


def test_the_core_language_of_a_chain_is_one_of_its_source(dialogues, four):
    """Spans in a language that no field of the documents named used to have no group to be reported in."""
    chinese = dataclasses.replace(dialogues, languages=["zh"])
    source = open_sources({"dialogues": chinese}, four)["dialogues"]
    assert source.num_documents == 20 and source.languages == ["en", "zh"]
    stream = open_stream({"dialogues": chinese}, four, **SIZES)
    assert "dialogue/text/en" in stream.groups and stream.step({}).consumed


def test_an_added_chain_is_read_back(dialogues, four):
    source = open_sources({"dialogues": dialogues}, four)["dialogues"]
    document = source.sequence(2, 0)
    reply = parse_reply(four, document.ids[int(document.trained.argmax()) :], "four_parts")
    assert reply.texts["question_text_en"] == "Who?" and reply.texts["answer_text_en"] == "Anna."
    assert len(reply.segments) == 2 and all(len(units) for _, units in reply.segments)


def test_an_added_chain_needs_its_fields_and_markers(dialogues, world, four, form):
    with pytest.raises(UserError, match="the field question_text_en is missing"):
        open_sources({"a": dataclasses.replace(world["dialogue"], order="four_parts")}, four)
    with pytest.raises(UserError, match=r"the source a: the order four_parts writes \[translation\] \[thought\]"):
        open_sources({"a": dialogues}, form)
