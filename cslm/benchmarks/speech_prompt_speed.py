"""A training step of a speech prompt with frozen work done once, beside the naive one.

The step of language-aware distillation, on the same clips and from the same connector. Naive: encoder and teacher run
in every step, and the logits of all positions are made, as the forward of transformers makes them. Once: the frames of
the encoder and the states of the teacher are kept. Steps of both alternate, and a ratio is that of a pair; memory is
that of storages counted one by one, so that neither hangs on what else a machine does.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cslm.batches.micro_batch import StepBatch
from cslm.batches.packed_row import Clips, PackedRow, Padded
from cslm.benchmarks.living_tensors import living_bytes
from cslm.benchmarks.speech_prompt_parts import PROMPT_IDS, BenchedShape, open_benched
from cslm.model.document_attention import PackedDocuments
from cslm.model.loss import last_states, row_arguments
from cslm.model.speech_prompt.distillation import STATE_PLACE, TEACHER_STATE, TRANSCRIPT
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_losses_config import (
    InputDistillationConfig,
    OutputDistillationConfig,
    PromptLossesConfig,
)
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt
from cslm.planning.activation_memory import Storages
from cslm.training.engine import accumulate_gradients, start_engine, start_processes, update_weights
from cslm.training.training_config import DeviceConfig, TrainingConfig

_LOSSES = PromptLossesConfig(
    input_distillation=InputDistillationConfig(), output_distillation=OutputDistillationConfig()
)


class Steps(NamedTuple):
    """A step of each kind; each runs forward and backward and leaves no gradient."""

    naive: Callable[[], float]
    once: Callable[[], float]


@dataclass(frozen=True)
class Compared:
    """What was measured."""

    ratios: list[float]
    """seconds of the naive step over those of the other, by pair"""
    naive_bytes: int
    """most that the naive step takes above the weights"""
    once_bytes: int
    losses: tuple[float, float]
    """of the two, which are the same but for rounding"""

    @property
    def time_ratio(self) -> float:
        """The median."""
        return median(self.ratios)


def compared_steps(prompt: SpeechPrompt, shape: BenchedShape, pairs: int) -> Compared:
    """Run both steps, one after the other, ``pairs`` times behind one that is not timed."""
    steps = steps_of(prompt, shape)
    losses = steps.naive(), steps.once()
    ratios = []
    for pair in range(pairs):
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        seconds = {which: _seconds(steps[which]) for which in order}
        ratios.append(seconds[0] / seconds[1])
    return Compared(ratios, _most_bytes(steps.naive), _most_bytes(steps.once), losses)


def steps_of(prompt: SpeechPrompt, shape: BenchedShape) -> Steps:
    """Both steps on the clips of the shape; the row of the second is made here."""
    waveforms, transcripts = shape.clips(int(prompt.llm.config.get_text_config().vocab_size))
    count = prompt.connector.num_vectors(1)
    row, module = row_of(prompt, waveforms, transcripts, count), _module(prompt)

    def naive() -> float:
        states = _teacher(prompt, transcripts)
        own = dataclasses.replace(row, clips=_clips(waveforms, transcripts, states, count))
        connected = prompt.connect(own.clips)  # type: ignore[arg-type]
        embeddings = prompt.embeddings(own.input_ids, own.clips, connected)
        kept: list[Tensor] = []
        hook = prompt.llm.base_model.register_forward_hook(lambda module, given, output: kept.append(output[0][0]))
        llm: Any = prompt.llm
        logits = llm(inputs_embeds=embeddings, **row_arguments(llm, own)).logits
        hook.remove()
        loss = 0 * logits.float().log_softmax(-1).sum() + _distance(connected.vectors, kept[0], own, prompt, states)
        return _backward(loss, prompt)

    def once() -> float:
        objective = module(row)
        terms = objective.terms
        aligned = sum(map(len, transcripts))
        loss = terms["input_distillation"].sum / aligned + terms["output_distillation"].sum / len(transcripts)
        return _backward(loss, prompt)

    return Steps(naive, once)


def row_of(prompt: SpeechPrompt, waveforms: list[Tensor], transcripts: list[Tensor], count: int) -> PackedRow:
    """One document a clip: the prompt's ids around its places; frames and states are made once, here."""
    with torch.no_grad():
        frames = prompt.frames(_clips(waveforms, transcripts, None, count))
        states = _teacher(prompt, transcripts)
    length = PROMPT_IDS + count
    ids = torch.arange(length * len(waveforms)) % 7
    clips = _clips(waveforms, transcripts, states, count)
    stored = dataclasses.replace(clips, values=frames.values, lengths=frames.lengths)
    nothing = torch.zeros(0, dtype=torch.int64)
    return PackedRow(
        input_ids=ids[None],
        position_ids=(torch.arange(len(ids)) % length)[None],
        boundaries=tuple(range(0, len(ids) + 1, length)),
        target_positions=nothing,
        target_ids=nothing,
        target_weights=torch.zeros(0),
        target_groups=nothing,
        clips=stored,
        clip_counts={"aligned_tokens": sum(map(len, transcripts)), "taught_clips": len(transcripts)},
    )


def bytes_by_stage(shape: BenchedShape, whisper: Path, llm: Path, stages: tuple[int, ...]) -> list[dict[str, int]]:
    """Bytes that a process holds above the weights after a step, by ZeRO stage; and gradients of what is frozen.

    Copy, states and gradient buffers of what learns are 12 to 20 bytes for each of its numbers; anything kept for what
    is frozen would come on top. Stage 3 also keeps small tensors gathered.
    """
    start_processes(1)
    return [_bytes_of(stage, shape, whisper, llm) for stage in stages]


def _bytes_of(stage: int, shape: BenchedShape, whisper: Path, llm: Path) -> dict[str, int]:
    prompt = open_benched(whisper, llm, shape)
    waveforms, transcripts = shape.clips(int(prompt.llm.config.get_text_config().vocab_size))
    row = row_of(prompt, waveforms, transcripts, prompt.connector.num_vectors(1))
    module = _module(prompt)
    frozen = [it for it in prompt.parameters() if not it.requires_grad]
    learning, number = (sum(it.numel() for it in prompt.parameters() if it.requires_grad is kind)
                        for kind in (True, False))  # fmt: skip
    before = living_bytes()
    engine = start_engine(module, TrainingConfig(max_steps=1, device=DeviceConfig(zero_stage=stage)))
    accumulate_gradients(engine, StepBatch([row], {}, {"clips": len(transcripts)}))
    gradients = sum(it.grad.nbytes for it in frozen if it.grad is not None)
    update_weights(engine, 1.0)
    above = living_bytes() - before
    engine.destroy()
    return {
        "stage": stage, "learning": learning, "frozen": number, "frozen_gradients": gradients, "above_weights": above,
        "above_weights_a_learning_one": round(above / learning),
    }  # fmt: skip


def _module(prompt: SpeechPrompt) -> PromptObjective:
    encoder = prompt.encoder
    assert encoder is not None
    return PromptObjective(prompt, open_losses(_LOSSES), 1, encoder.dims)


def _clips(waveforms: list[Tensor], transcripts: list[Tensor], states: Tensor | None, count: int) -> Clips:
    """Waveforms in their places: each document has half of its prompt before them."""
    length, before = PROMPT_IDS + count, PROMPT_IDS // 2
    starts = torch.arange(len(waveforms)) * length + before
    numbers = torch.arange(len(waveforms))
    more = {TRANSCRIPT: Padded(pad_sequence(transcripts, True), torch.tensor([len(it) for it in transcripts]))}
    if states is not None:
        ones = torch.ones_like(numbers)
        behind = torch.full((len(waveforms), 1), PROMPT_IDS - before)
        more |= {TEACHER_STATE: Padded(states, ones * states.shape[1]), STATE_PLACE: Padded(behind, ones)}
    return Clips(
        pad_sequence(waveforms, True), torch.tensor([len(it) for it in waveforms]),
        torch.stack([starts, starts + count], 1), ("en",) * len(waveforms), numbers, torch.zeros_like(numbers), more,
    )  # fmt: skip


@torch.no_grad()
def _teacher(prompt: SpeechPrompt, transcripts: list[Tensor]) -> Tensor:
    """(clips, width): last hidden states behind the same prompt around each transcript."""
    before, after = PROMPT_IDS // 2, PROMPT_IDS - PROMPT_IDS // 2
    found = []
    for said in transcripts:
        ids = torch.cat([torch.arange(before) % 7, said, torch.arange(after) % 7])
        documents = PackedDocuments((0, len(ids)), ids.device)
        found.append(last_states(prompt.llm, {"input_ids": ids[None], "documents": documents})[0, -1])
    return torch.stack(found)


def _distance(vectors: Tensor, hidden: Tensor, row: PackedRow, prompt: SpeechPrompt, states: Tensor) -> Tensor:
    """The two losses, as a plain loop writes them."""
    llm: Any = prompt.llm
    clips = row.clips
    assert clips is not None
    said, lengths = clips.more[TRANSCRIPT]
    aligned, outer = vectors.new_zeros(()), vectors.new_zeros(())
    for clip, length in enumerate(lengths.tolist()):
        wanted = llm.get_input_embeddings()(said[clip, :length])
        aligned = aligned + (vectors[clip, -length:] - wanted).norm(dim=-1).sum()
        outer = outer + (hidden[row.boundaries[clip + 1] - 1] - states[clip]).norm()
    return aligned / int(lengths.sum()) + outer / len(lengths)


def _backward(loss: Tensor, prompt: SpeechPrompt) -> float:
    loss.backward()
    prompt.zero_grad(set_to_none=True)
    return float(loss.detach())


def _seconds(step: Callable[[], float]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _most_bytes(step: Callable[[], float]) -> int:
    with Storages() as storages:
        step()
    return storages.most_since()
