"""The objective of a speech prompt: what is packed learns as what stands alone; nothing frozen gets a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cslm.batches.packed_row import packed_row
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig, StackedConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_losses_config import CrossEntropyConfig, PromptLossesConfig
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, embedding_scale, freeze
from cslm.sequences.sequence import PlacedClip, Sequence, Span
from tests.worlds.tiny_models import tiny_model

DIMS, PLACE = 6, 999


@dataclass(frozen=True)
class Frames:
    """Frames (frames, 6) drawn by a number."""

    num_frames: int
    number: int

    def read(self) -> np.ndarray:
        return np.random.default_rng(self.number).normal(size=(self.num_frames, DIMS)).astype(np.float32)


def heard(before: int, clip: Frames | None, num_places: int, after: int, number: int) -> Sequence:
    """Ids, the places of a clip, and ids that are learnt."""
    generator = np.random.default_rng(number)
    ids = np.concatenate(
        [generator.integers(3, 60, before), np.full(num_places, PLACE), generator.integers(3, 60, after)]
    )
    ends = np.cumsum([0, before, num_places, after]).tolist()
    spans = tuple(
        Span(start, stop, modality, "en", "user", trained)
        for start, stop, modality, trained in zip(
            ends, ends[1:], ("text", "audio", "text"), (False, False, True), strict=False
        )
        if stop > start
    )
    clips = () if clip is None else (PlacedClip(before, before + num_places, "en", clip),)
    trained = np.arange(len(ids)) >= before + num_places
    return Sequence(ids.astype(np.int32), trained, spans, "test", clips=clips)


def objective(attention: str = "document", family: str = "qwen3") -> PromptObjective:
    llm = freeze(tiny_model(family, attention=attention))
    connector = build_connector(ConnectorConfig(stacked=StackedConfig(4)), Between(DIMS, 32, embedding_scale(llm)))
    losses = open_losses(PromptLossesConfig(cross_entropy=CrossEntropyConfig()))
    return PromptObjective(SpeechPrompt(None, connector, llm), losses, 1, DIMS)


def documents() -> list[Sequence]:
    return [
        heard(3, Frames(9, 1), 3, 4, 1),
        heard(5, None, 0, 3, 2),
        heard(2, Frames(16, 2), 4, 6, 3),
        heard(1, Frames(2, 3), 1, 2, 4),
    ]


def gradients(module: PromptObjective, rows: list) -> dict[str, torch.Tensor]:
    module.zero_grad()
    for row in rows:
        module(row).weighted_sum.backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "llama"])
def test_packed_documents_learn_as_alone(family):
    module, groups = objective(family=family), {"test/text/en": 0}
    together = gradients(module, [packed_row(documents(), groups)])
    alone = gradients(module, [packed_row([document], groups) for document in documents()])
    for name, value in alone.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(together[name], value, atol=1e-5 * float(value.abs().max()), rtol=0)


def test_a_row_without_clips_runs_backward_and_teaches_nothing():
    module = objective()
    found = gradients(module, [packed_row([documents()[1]], {"test/text/en": 0})])
    assert found and all(not value.any() for value in found.values())


def test_nothing_frozen_gets_a_gradient():
    module = objective()
    gradients(module, [packed_row(documents(), {"test/text/en": 0})])
    assert all(parameter.grad is None for parameter in module.prompt.llm.parameters())
    assert {name.split(".")[1] for name, it in module.named_parameters() if it.requires_grad} == {"connector"}


def test_a_clip_in_two_parts_is_read_once_and_gives_the_vectors_that_are_asked_for():
    class Counted(Frames):
        read_times = 0

        def read(self) -> np.ndarray:
            Counted.read_times += 1
            return super().read()

    whole = heard(2, Frames(16, 2), 4, 6, 3)
    clip = Counted(16, 2)
    parts = (PlacedClip(2, 3, "en", clip), PlacedClip(3, 6, "en", clip, first=1))
    split = Sequence(whole.ids, whole.trained, whole.spans, "test", clips=parts)
    module, groups = objective(), {"test/text/en": 0}
    expected, row = module(packed_row([whole], groups)), packed_row([split], groups)
    assert Counted.read_times == 1 and row.counts()["clips"] == 1
    assert torch.equal(module(row).weighted_sum, expected.weighted_sum)
