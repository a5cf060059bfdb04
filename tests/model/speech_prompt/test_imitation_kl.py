"""KL to the teacher: against plain calls, packed as alone; no gradient and no LoRA for the teacher."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cslm.batches.packed_row import count_all, packed_row
from cslm.model.lora import LoraOptions, add_lora
from cslm.model.speech_prompt.connector import Between
from cslm.model.speech_prompt.connector_config import ConnectorConfig, StackedConfig
from cslm.model.speech_prompt.connectors import build_connector
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_losses_config import ImitationKlConfig, PromptLossesConfig
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt, embedding_scale, freeze
from cslm.sequences.audio_imitation import ImitatedClip
from cslm.sequences.imitation import Target, heard_request, imitated, text_request
from cslm.sequences.interleaved_vectors import Vectors
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task_pool import Asked
from tests.worlds.real_templates import real_tokenizer
from tests.worlds.tiny_models import tiny_model

DIMS = 6
TEXTS = ["Anna bakes bread.", "Peter sleeps.", "The river freezes in winter."]
REPLIES = [([5, 9, 30], False), ([7, 8], True), ([11, 12, 13, 14], False)]
ASKED = Asked("Sum up:\n", "")
GROUPS = {f"audio_imitation/{modality}/en": 0 for modality in ("text", "template")}


@dataclass(frozen=True)
class Frames:
    num_frames: int
    number: int

    def read(self) -> np.ndarray:
        return np.random.default_rng(self.number).normal(size=(self.num_frames, DIMS)).astype(np.float32)


@pytest.fixture(scope="module")
def form() -> SequenceFormat:
    return SequenceFormat(real_tokenizer("byte-level", "chatml"))


def documents(form: SequenceFormat, with_text: bool = False) -> list[Sequence]:
    found = []
    for number, (text, (ids, truncated)) in enumerate(zip(TEXTS, REPLIES, strict=True)):
        target = Target(ids, truncated, "en")
        teacher = imitated(form, text_request(text, ASKED, "en"), target, "audio_imitation")
        clip = ImitatedClip(Frames(8 + 4 * number, number), teacher)
        pieces = [Vectors(0, 1), " bakes", Vectors(1, 2)] if with_text else [Vectors(0, 2 + number)]
        found.append(imitated(form, heard_request(pieces, clip, 3, ASKED, "en"), target, "audio_imitation"))
    return found


def objective(form: SequenceFormat, temperature: float = 1.0, lora: bool = False) -> PromptObjective:
    llm = freeze(tiny_model("qwen3", attention="document", vocab_size=2048))
    if lora:
        add_lora(llm, LoraOptions(rank=2, train_rows="none"))
    connector = build_connector(ConnectorConfig(stacked=StackedConfig(4)), Between(DIMS, 32, embedding_scale(llm)))
    losses = open_losses(PromptLossesConfig(imitation_kl=ImitationKlConfig(temperature=temperature)))
    return PromptObjective(SpeechPrompt(None, connector, llm), losses, 1, DIMS)


def by_hand(module: PromptObjective, document: Sequence, temperature: float = 1.0) -> float:
    """The sum of a document, by plain calls of the language model."""
    llm, clip = module.prompt.llm, document.clips[0].clip
    frames = torch.from_numpy(clip.read())[None]
    vectors = module.prompt.connector(frames, torch.tensor([frames.shape[1]]), torch.tensor([-1])).vectors[0]
    embedded = llm.get_input_embeddings()(torch.from_numpy(document.ids.astype(np.int64)))
    for placed in document.clips:
        embedded[placed.start : placed.stop] = vectors[placed.first : placed.first + placed.stop - placed.start]
    teacher = clip.teacher
    heard = llm(inputs_embeds=embedded[None]).logits[0].float() / temperature
    read = llm(torch.from_numpy(teacher.ids.astype(np.int64))[None]).logits[0].float() / temperature
    student = heard[np.flatnonzero(document.trained) - 1].log_softmax(-1)
    wanted = read[np.flatnonzero(teacher.trained) - 1].log_softmax(-1)
    return temperature**2 * (wanted.exp() * (wanted - student)).sum().item()


@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_packed_row_has_the_sums_of_its_documents(form, with_text, temperature):
    module, found = objective(form, temperature), documents(form, with_text)
    row = packed_row(found, GROUPS)
    term = module(row).terms["imitation_kl"]
    assert term.sum.item() == pytest.approx(sum(by_hand(module, it, temperature) for it in found), rel=1e-4)
    assert row.counts()[term.per] == count_all(found)[term.per] == sum(int(it.trained.sum()) for it in found)


def test_gradients_reach_the_connector_alone(form):
    module = objective(form)
    module(packed_row(documents(form), GROUPS)).terms["imitation_kl"].sum.backward()
    assert all(it.grad is not None and it.grad.abs().sum() > 0 for it in module.prompt.connector.parameters())
    assert all(it.grad is None for it in module.prompt.llm.parameters())


def test_a_row_without_clips_has_nothing_to_learn_and_a_graph(form):
    module = objective(form)
    plain = imitated(form, text_request(TEXTS[0], ASKED, "en"), Target([5], False, "en"), "audio_imitation")
    term = module(packed_row([plain], GROUPS)).terms["imitation_kl"]
    assert term.sum.item() == 0
    term.sum.backward()


def test_clips_without_a_teacher_stand_beside_those_with_one(form):
    module, found = objective(form), documents(form)
    target = Target([5, 6], False, "en")
    request = heard_request([Vectors(0, 2)], Frames(8, 9), 3, ASKED, "en")
    other = imitated(form, request, target, "audio_imitation")
    row = packed_row([found[0], other, found[1]], GROUPS)
    expected = sum(by_hand(module, it) for it in found[:2])
    assert module(row).terms["imitation_kl"].sum.item() == pytest.approx(expected, rel=1e-4)


def test_the_teacher_is_the_frozen_model_without_lora(form):
    pytest.importorskip("peft")
    module = objective(form, lora=True)
    found = documents(form)
    before = module(packed_row(found, GROUPS)).terms["imitation_kl"].sum.item()
    plain = objective(form)
    assert before == pytest.approx(sum(by_hand(plain, it) for it in found), rel=1e-4)
    adapters = [value for name, value in module.prompt.llm.named_parameters() if "lora_B" in name]
    for value in adapters:
        value.data.normal_()
    learns = [value.requires_grad for value in adapters]
    changed = module(packed_row(found, GROUPS)).terms["imitation_kl"].sum.item()
    assert changed != pytest.approx(before, rel=1e-3)
    assert [value.requires_grad for value in adapters] == learns
    with torch.no_grad():
        ids = torch.from_numpy(found[0].clips[0].clip.teacher.ids.astype(np.int64))[None]
        assert not torch.allclose(module.prompt.llm(ids).logits, plain.prompt.llm(ids).logits)
