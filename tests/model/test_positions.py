from __future__ import annotations

import pytest
from transformers import AutoConfig, LlamaConfig

from cslm.errors import UserError
from cslm.model.positions import check_length, most_positions
from tests.worlds.architectures import architecture


@pytest.mark.parametrize(
    ("name", "fields", "most"),
    [
        ("llama", {}, 256),
        ("gpt2", {"n_positions": 64}, 64),
        ("bloom", {}, None),
        ("mamba", {}, None),
        ("falcon", {"alibi": True}, None),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 1024),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}}, 512),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, 256),
    ],
)
def test_positions_and_what_scaling_makes_of_them(name, fields, most):
    fields = {key: {**value, "rope_theta": 1e4} if isinstance(value, dict) else value for key, value in fields.items()}
    shape = AutoConfig.for_model(name, **fields) if most is None else architecture(name, **fields)
    assert most_positions(shape) == most


def test_documents_longer_than_the_positions_are_refused():
    check_length(architecture("llama"), 256, True, "base")
    with pytest.raises(UserError, match=r"training\.max_length is 257, and base has 256 positions: lower max_length"):
        check_length(architecture("llama"), 257, True, "base")
    check_length(AutoConfig.for_model("mamba"), 10**6, True, "base")


def test_frequencies_that_hang_on_the_longest_document_of_a_row_are_refused_in_packed_rows():
    factors = [1.0] * 8
    shape = LlamaConfig(
        hidden_size=32, num_attention_heads=2, max_position_embeddings=512,
        rope_scaling={"rope_type": "longrope", "long_factor": factors, "short_factor": factors, "factor": 4.0,
                      "original_max_position_embeddings": 128, "rope_theta": 1e4},
    )  # fmt: skip
    check_length(shape, 128, True, "base")
    check_length(shape, 500, False, "base")
    with pytest.raises(UserError, match=r"longer than 128 tokens \(longrope\).*training\.data\.pack false"):
        check_length(shape, 500, True, "base")
