"""What a configuration asks for and cannot get is refused when it is read, by name."""

from __future__ import annotations

import pytest

from cslm.configuration import load_configuration
from cslm.errors import UserError
from cslm.training.pretrain import PretrainConfig
from tests.worlds.tiny_world import pretrain_config, write_config

INFINITE, NO_NUMBER = float("inf"), float("nan")


def read(tmp_path, *overrides, **sections):
    config = pretrain_config(tmp_path, max_tokens=1200) | sections
    return load_configuration(PretrainConfig, write_config(tmp_path / "run.yaml", config), *overrides)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.schedule.warmup_fraction", 3),
        ("training.schedule.warmup_fraction", -0.1),
        ("training.schedule.warmup_steps", -5),
        ("training.schedule.warmup_steps", 1000),
        ("training.schedule.final_learning_rate", INFINITE),
        ("training.optimizer.betas", [1.5, 0.9]),
        ("training.optimizer.betas", [0.9, 1.0]),
        ("training.optimizer.betas", [NO_NUMBER, 0.9]),
        ("training.optimizer.epsilon", 0),
        ("training.optimizer.epsilon", -1e-8),
        ("training.optimizer.weight_decay", -0.1),
        ("training.optimizer.weight_decay", INFINITE),
        ("training.optimizer.embedding_rate", NO_NUMBER),
        ("training.optimizer.gradient_clip", -1),
        ("training.checkpoints.save_every", 0),
        ("training.checkpoints.save_total", -1),
        ("training.data.loader_workers", -1),
        ("training.device.num_threads", 0),
        ("training.device.peak_tflops", 0),
        ("training.device.peak_tflops", INFINITE),
        ("training.learning_rate", INFINITE),
        ("training.learning_rate", NO_NUMBER),
        ("training.learning_rate", -1e-3),
        ("training.seed", -1),
        ("training.max_steps", 0),
        ("training.log_every", 0),
        ("lora.rank", 0),
        ("lora.alpha", 0),
        ("lora.dropout", 1.0),
        ("lora.dropout", NO_NUMBER),
        ("lora.target_modules", []),
        ("validation.share", NO_NUMBER),
        ("validation.share", 0.6),
        ("validation.max_documents", 0),
        ("rows_first_steps", -1),
        ("initialisation", "medium"),
        ("model.dtype", "float8"),
    ],
)
def test_a_value_out_of_range_is_named(tmp_path, key, value):
    config = pretrain_config(tmp_path, max_tokens=1200)
    *groups, name = key.split(".")
    place = config
    for group in groups:
        place = place.setdefault(group, {"eval_steps": 2} if group == "validation" else {})
    place[name] = value
    with pytest.raises(UserError, match=rf"{key} is "):
        load_configuration(PretrainConfig, write_config(tmp_path / "run.yaml", config))


@pytest.mark.parametrize(
    "key",
    ["model", "data_root", "training.optimizer.weight_decay", "training.optimizer", "training.data", "untie_head",
     "training.learning_rate", "training.optimizer.betas", "model.dtype", "rows_first_steps"],
)  # fmt: skip
def test_an_empty_section_or_value_is_named(tmp_path, key):
    config = pretrain_config(tmp_path)
    *groups, name = key.split(".")
    place = config
    for group in groups:
        place = place.setdefault(group, {})
    place[name] = None
    with pytest.raises(UserError, match=rf"^{key} is empty: give it a value, or leave the key out"):
        load_configuration(PretrainConfig, write_config(tmp_path / "run.yaml", config))


def test_a_model_that_is_neither_a_base_nor_an_architecture_is_refused(tmp_path):
    with pytest.raises(UserError, match="give either base"):
        read(tmp_path, model={})
    with pytest.raises(UserError, match=r"model\.revision is 'main', and there is no model\.base on the Hub"):
        read(tmp_path, model={"architecture": {"model_type": "llama"}, "revision": "main"})


def test_weights_in_bfloat16_that_are_updated_in_bfloat16_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.dtype is bfloat16 and training\.device\.precision fp32"):
        read(tmp_path, model={"base": "x", "dtype": "bfloat16"})
    read(tmp_path, "--training.device.precision=bf16", model={"base": "x", "dtype": "bfloat16"})
