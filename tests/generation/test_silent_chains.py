"""Checkpoints that answer in text alone: no decoder, no voice and no wav file are wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.errors import UserError
from cslm.generation.grammar import UnitGrammar
from cslm.generation.respond import main
from cslm.sequences.chain_of_modality import dialogue
from cslm.sequences.chains import CHAINS
from tests.worlds.four_part_chain import four_part_format
from tests.worlds.small_village import some_units
from tests.worlds.tiny_checkpoint import make_checkpoint, tone

ORDERS = ("xs_cot", "xs_cot_labels", "transcript_then_answer", "direct")
FURTHER = {"core_language": "en", "core_question": "Who is she?", "core_answer": "Anna.\nAnswer: Anna it is."}


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("silent") / "checkpoint", decoder=False)


def answering_in(folder: Path, order: str) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["speech"]["order"] = order
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def question(tmp_path: Path) -> Path:
    save_waveform(tmp_path / "question.wav", tone(0.6, 16000), 16000)
    return tmp_path / "question.wav"


@pytest.mark.parametrize("order", ORDERS)
def test_a_question_is_answered_in_text(
    silent: Path, question: Path, tmp_path: Path, order: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(answering_in(silent, order)), str(question), "--question_language", "fr"]
    main([*arguments, "--decoding.max_new_tokens", "20", "--json", str(tmp_path / "reply.json")])
    assert "answer (fr): " in capsys.readouterr().out
    record = json.loads((tmp_path / "reply.json").read_text())
    assert record["wav"] is None and not any(units["units"] for units in record["segments"])
    with pytest.raises(UserError, match=f"answers in text alone .the order {order}.: leave it out"):
        main([*arguments, "--output", str(tmp_path / "answer.wav")])


def test_a_model_that_speaks_is_told_where_to(checkpoint: Path, question: Path) -> None:
    with pytest.raises(UserError, match="answers with speech: give output, the wav file to write"):
        main([str(checkpoint), str(question)])


def test_the_language_of_a_question_is_told_from_the_transcript_that_is_labelled(silent: Path, question: Path) -> None:
    model = CSLMForCausalLM.from_pretrained(answering_in(silent, "xs_cot_labels"))
    assert model.respond(str(question)).question_language in model.processor.languages


@pytest.mark.parametrize("order", ORDERS)
def test_what_a_silent_chain_writes_passes_its_grammar_and_no_speech_does(tmp_path: Path, order: str) -> None:
    form = four_part_format(tmp_path / "tokenizer")
    sequence = dialogue(form, some_units(3), "谁？", "zh", [("安娜。", None)], "zh", order, FURTHER)
    ids, rows = torch.from_numpy(sequence.ids.astype("int64"))[None], form.vocabulary.padded_size
    grammar = UnitGrammar(form.vocabulary, rows, chain=CHAINS[order])
    for place in range(int(sequence.trained.argmax()), ids.shape[1]):
        scores = grammar(ids[:, :place], torch.zeros(1, rows))
        assert scores[0, ids[0, place]] == 0 and scores[0, form.vocabulary.sosp] == float("-inf")
