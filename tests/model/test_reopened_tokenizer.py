"""A text tokenizer made from scratch is opened again as it was, or its model type is refused before training."""

from __future__ import annotations

import pytest
import transformers
from transformers import AutoConfig

from cslm.errors import UserError
from cslm.model.reopened_tokenizer import check_reopens
from cslm.sequences.text_tokenizer import train_text_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = ["Mira is a baker.", "Anna has a dog, and 12 bones.", "你好，米拉。"] * 20
    return train_text_tokenizer(texts, 300, tmp_path_factory.mktemp("tokenizer") / "text")


def refusal(tokenizer, model_type):
    """What is said against a tokenizer beside a model of a type; nothing where it is opened as it is."""
    try:
        check_reopens(tokenizer, AutoConfig.for_model(model_type, vocab_size=len(tokenizer)))
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gemma3_text", "gpt2"])
def test_a_tokenizer_made_here_is_opened_as_it_is(tokenizer, model_type):
    assert refusal(tokenizer, model_type) == ""


@pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="transformers 4 opens what the folder says")
def test_a_checkpoint_whose_tokenizer_gave_no_ids_is_refused_before_the_first_step(tokenizer):
    says = "model_type is qwen2: transformers does not open a text tokenizer made here"
    assert says in refusal(tokenizer, "qwen2")
