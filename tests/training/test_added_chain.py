"""A chain of modality from outside of the package: a list and a line, then training, a checkpoint, replies in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cslm import CSLMForCausalLM
from cslm.codecs.units import Units
from cslm.generation.decoding import DecodingConfig
from cslm.sequences.chains import CHAINS, Chain, Segment
from cslm.training import finetune, pretrain
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config

FOUR_PARTS = Chain(
    (
        Segment("question", "question", "text", "[question]", before=": ", after="; "),
        Segment("question", "en", "text", "[translation]", before=": ", after="; "),
        Segment("answer", "en", "text", "[thought]", before=": ", after="; "),
        Segment("answer", "answer", "both", "[answer]", before=": "),
    )
)
FURTHER = {"[translation]", "[thought]"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A tiny world with dialogues of four parts, and its pre-trained model, which knows the usual markers alone."""
    root = make_world(tmp_path / "world")
    run(root, text_lm_config(root, max_steps=1))
    run(root, pretrain_config(root, max_steps=1))
    texts = [json.loads(line) for line in (root / "texts.jsonl").read_text("utf-8").splitlines()]
    chinese, english = ([row for row in texts if row["language"] == it] for it in ("zh", "en"))
    documents = [
        {"question": row["id"], "question_language": "zh", "question_text": row["text"], "question_text_en": en["text"]}
        | {"answer": row["id"], "answer_language": "zh", "answer_text": row["text"], "answer_text_en": en["text"]}
        for row, en in zip(chinese, english, strict=True)
    ]
    lines = [json.dumps(document, ensure_ascii=False) + "\n" for document in documents]
    (root / "dialogues.jsonl").write_text("".join(lines), encoding="utf-8")
    monkeypatch.setitem(CHAINS, "four_parts", FOUR_PARTS)
    return root


def run(root, config, verb=pretrain):
    verb.main(["--config", str(write_config(root / "run.yaml", config))])


def four_parts(root, output="four", base="pretrain"):
    sources = {
        "dialogues": {"task": "dialogue", "documents": "dialogues.jsonl", "store": "units", "order": "four_parts"}
    }
    sources["dialogues"]["weight"] = 1.0
    config = pretrain_config(root, max_steps=2) | {"output": output, "model": {"base": base}, "sources": sources}
    return config | {"tokenizer_card": None}


def test_a_chain_from_outside_is_trained_saved_and_answered_in(world):
    run(world, four_parts(world), verb=finetune)
    tokenizer = AutoTokenizer.from_pretrained(world / "four")
    before = AutoTokenizer.from_pretrained(world / "pretrain")
    assert set(tokenizer.get_added_vocab()) - set(before.get_added_vocab()) == FURTHER
    section = json.loads((world / "four" / "config.json").read_text())["speech"]
    assert section["order"] == "four_parts" and set(section["further_markers"]) == FURTHER
    plain = AutoModelForCausalLM.from_pretrained(world / "four")
    assert plain.get_input_embeddings().num_embeddings >= len(tokenizer)

    (world / "four" / "speech" / "card.yaml").unlink()  # a made-up one: nothing is heard here
    model = CSLMForCausalLM.from_pretrained(world / "four").eval()
    units = Units(np.array([[1], [2], [3], [4]]))
    decoding = DecodingConfig(max_new_tokens=60, temperature=1.0)
    generator = torch.Generator().manual_seed(0)
    answers = model.tasks().answer([units] * 4, ["zh"] * 4, ["zh"] * 4, decoding, generator)
    assert {answer.reply.order for answer in answers} == {"four_parts"}
    written = {token_id for answer in answers for token_id in answer.ids}
    allowed = {tokenizer.convert_tokens_to_ids(form) for form in FOUR_PARTS.markers}
    assert written & set(model.processor.vocabulary.marker_ids) & allowed


def test_markers_that_join_get_rows_where_the_base_has_none_to_spare(world):
    """The tokenizer is filled up to the last row, so that the two further markers have none."""
    tokenizer = AutoTokenizer.from_pretrained(world / "pretrain")
    rows = AutoModelForCausalLM.from_pretrained(world / "pretrain").get_input_embeddings().num_embeddings
    tokenizer.add_tokens([f"<unused{index}>" for index in range(rows - len(tokenizer))])
    tokenizer.save_pretrained(world / "pretrain")
    old = AutoModelForCausalLM.from_pretrained(world / "pretrain").get_input_embeddings().weight
    run(world, four_parts(world), verb=finetune)
    new = AutoModelForCausalLM.from_pretrained(world / "four").get_input_embeddings().weight
    assert new.shape[0] == rows + 64 and not torch.equal(new[rows], new[rows + 1])
    assert torch.allclose(new[:rows], old, atol=0.1)


def test_a_run_without_dialogues_keeps_the_order_of_its_base(world):
    run(world, four_parts(world), verb=finetune)
    more = pretrain_config(world, max_steps=1) | {"output": "more", "model": {"base": "four"}, "tokenizer_card": None}
    run(world, more, verb=finetune)
    assert json.loads((world / "more" / "config.json").read_text())["speech"]["order"] == "four_parts"
