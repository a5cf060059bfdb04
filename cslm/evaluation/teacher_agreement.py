"""How near a model that hears is to itself on the transcript: divergence and first choices, token by token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from cslm.audio.clip import Clip
from cslm.audio.waveform import resample
from cslm.batches.packed_row import packed_row
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.generation.prompt_processor import GivenClip
from cslm.model.lora import without_lora
from cslm.model.speech_prompt.distillation import next_logits
from cslm.sequences.imitation import TASK, Target, heard_request, imitated, text_request
from cslm.sequences.interleaved_vectors import Vectors
from cslm.sequences.sequence import Sequence
from cslm.sequences.task_pool import Asked


class Agreement(NamedTuple):
    """Over the tokens of one reply, its end included."""

    divergence: float
    """sum of KL(on the transcript, on speech), in nats"""
    agreeing: int
    """tokens that are the likeliest on speech too"""
    tokens: int


@torch.no_grad()
def agreement(model: SpeechPromptModel, clip: Clip, row: Mapping[str, Any]) -> Agreement:
    """Put the reply of a row of a store of targets behind its request, heard and read.

    Raises:
        UserError: a recording that cannot be heard.
    """
    form, hearing, prompt = model.processor.form, model.processor.hearing, model.prompt
    waveform = resample(*clip, hearing.sample_rate_hz)
    asked, language = Asked(row["before"], row["after"]), row["language"]
    target = Target(row["target"].tolist(), row["truncated"], row["target_language"] or language)
    places = Vectors(0, hearing.num_places(len(waveform)))
    request = heard_request([places], GivenClip(waveform), hearing.placeholder_id, asked, language)
    heard = imitated(form, request, target)
    read = imitated(form, text_request(row["text"], asked, language), target)
    found = packed_row([heard], dict.fromkeys(_groups(heard), 0)).to(model.device)
    if not found.num_targets:
        return Agreement(0.0, 0, 0)
    assert found.clips is not None
    embeddings = prompt.embeddings(found.input_ids, found.clips, prompt.connect(found.clips))
    student = _logits(prompt.llm, found.target_positions, inputs_embeds=embeddings)
    with without_lora(prompt.llm):
        taught = packed_row([read], dict.fromkeys(_groups(read), 0)).to(model.device)
        teacher = _logits(prompt.llm, taught.target_positions, input_ids=taught.input_ids)
    wanted, got = teacher.log_softmax(-1), student.log_softmax(-1)
    agreeing = int((student.argmax(-1) == found.target_ids).sum())
    return Agreement(float((wanted.exp() * (wanted - got)).sum()), agreeing, found.num_targets)


def _logits(llm: Any, positions: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
    hidden = llm.base_model(**inputs, use_cache=False).last_hidden_state[0, positions]
    return next_logits(llm, hidden)


def _groups(document: Sequence) -> list[str]:
    return [f"{TASK}/{span.modality}/{span.language}" for span in document.spans if span.trained]
