"""Both steps learn the same, the one that is measured takes less memory, and what is frozen has no gradient."""

from __future__ import annotations

import pytest
import torch

from cslm.benchmarks.speech_prompt_parts import BenchedShape, benched_folders, open_benched
from cslm.benchmarks.speech_prompt_speed import bytes_by_stage, compared_steps, steps_of
from cslm.errors import UserError

SHAPE = BenchedShape(clips_a_step=2, longest_sec=1.0, transcript_ids=6, vectors=8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CSLM_PRETRAINED", raising=False)
        whisper, llm, real = benched_folders(tmp_path_factory.mktemp("parts"))
    assert not real
    return whisper, llm


def test_both_steps_have_the_same_loss_and_gradient(folders, monkeypatch):
    prompt = open_benched(*folders, SHAPE)
    steps = steps_of(prompt, SHAPE)
    gradients = []
    monkeypatch.setattr(prompt, "zero_grad", lambda set_to_none: gradients.append(
        [parameter.grad.clone() for parameter in prompt.connector.parameters()]))  # fmt: skip
    losses = []
    for step in steps:
        for parameter in prompt.parameters():
            parameter.grad = None
        losses.append(step())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for naive, once in zip(*gradients, strict=True):
        torch.testing.assert_close(naive, once, atol=1e-4 * float(once.abs().max()) + 1e-9, rtol=1e-3)


def test_frozen_work_that_is_done_once_takes_less_memory(folders):
    found = compared_steps(open_benched(*folders, SHAPE), SHAPE, pairs=1)
    assert len(found.ratios) == 1 and found.ratios[0] > 0
    assert found.once_bytes < found.naive_bytes


def test_what_is_frozen_has_no_gradient_and_no_state(folders):
    """There are twenty times as many frozen numbers: a gradient alone would be 80 bytes for each learning one."""
    for row in bytes_by_stage(SHAPE, *folders, (1, 2)):
        assert row["frozen"] > 10 * row["learning"] and row["frozen_gradients"] == 0
        assert 12 <= row["above_weights_a_learning_one"] <= 24


def test_a_folder_without_a_whisper_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CSLM_PRETRAINED", str(tmp_path))
    with pytest.raises(UserError, match="holds no Whisper beside a language model"):
        benched_folders(tmp_path)
