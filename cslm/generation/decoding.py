"""Batched generation: prompts of any lengths in, the ids of their replies out."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from cslm.errors import UserError
from cslm.files.progress import progress_bar
from cslm.generation.grammar import UnitGrammar
from cslm.generation.growing_cache import growing_cache

_STRETCH = 64  # tokens between two looks at which replies have ended


@dataclass
class DecodingConfig:
    """How replies are decoded."""

    max_new_tokens: int = 2048
    """a reply is cut off after so many tokens"""
    temperature: float = 0.0
    """0 takes the most likely token each time; above, tokens are drawn"""
    top_p: float = 1.0
    """when drawing: only from the most likely tokens that hold this share of the probability"""
    batch_size: int = 96
    """prompts decoded together"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.max_new_tokens < 1 or self.batch_size < 1:
            raise UserError("decoding: max_new_tokens and batch_size must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UserError("decoding: temperature must be 0 or more, and top_p above 0 and at most 1")


class Generated(NamedTuple):
    """What one prompt became."""

    ids: list[int]
    """the reply, with the id that ended it if it ended"""
    mean_log_probability: float
    """of the reply's ids, after the grammar (nan where it was not asked for)"""


def generate(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[Any]],
    grammar: UnitGrammar,
    decoding: DecodingConfig,
    end_ids: Collection[int],
    pad_id: int,
    generator: torch.Generator | None = None,
    with_probabilities: bool = False,
    description: str | None = None,
) -> list[Generated]:
    """The reply to each prompt ``(num_ids,)``, in batches of similar length, padded on the left.

    Args:
        end_ids: a reply ends with one of these.
        pad_id: any id; padding is masked.
        generator: draws the tokens where ``decoding.temperature`` is above 0 (default: seed 0).
        with_probabilities: also give the mean log probability of each reply.
        description: shows a progress bar of this name.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    batches = [order[start : start + decoding.batch_size] for start in range(0, len(order), decoding.batch_size)]
    settings = _settings(model, decoding, end_ids, pad_id, with_probabilities)
    replies: list[Generated] = [Generated([], float("nan"))] * len(prompts)
    shown = progress_bar(batches, len(batches), description) if description else iter(batches)
    with _drawing_from(generator, model.device):
        for batch in shown:
            generated = _generate_batch(model, [prompts[index] for index in batch], grammar, settings)
            for index, reply in zip(batch, generated, strict=True):
                replies[index] = reply
    return replies


@torch.inference_mode()
def _generate_batch(
    model: PreTrainedModel, prompts: list[NDArray[Any]], grammar: UnitGrammar, settings: GenerationConfig
) -> list[Generated]:
    """Replies of one batch, a stretch of tokens at a time: after each, those that have ended leave the batch."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), settings.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.from_numpy(np.asarray(prompt, dtype=np.int64))
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    ends = set(settings.eos_token_id)
    left = _within_context(model, settings, longest)
    cache: Any = growing_cache(model)
    rows = list(range(len(prompts)))
    written: list[list[int]] = [[] for _ in prompts]
    sums = [0.0] * len(prompts)
    run: Any = model.generate
    stretch = copy.copy(settings)
    while rows and left > 0:
        stretch.max_new_tokens = min(left, _STRETCH)
        output = run(
            ids,
            attention_mask=mask,
            generation_config=stretch,
            logits_processor=LogitsProcessorList([grammar]),
            **({} if cache is None else {"past_key_values": cache}),
        )
        cache, known = output.past_key_values, ids.shape[1]
        ids = output.sequences
        probabilities = _log_probabilities(output.scores, ids[:, known:]).tolist() if output.scores else None
        going_on = []
        for place, (row, new) in enumerate(zip(rows, ids[:, known:].tolist(), strict=True)):
            kept = new[: next((index + 1 for index, token_id in enumerate(new) if token_id in ends), len(new))]
            written[row] += kept
            sums[row] += sum(probabilities[place][: len(kept)]) if probabilities is not None else float("nan")
            if kept[-1] not in ends:
                going_on.append(place)
        left -= ids.shape[1] - known
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - known), value=1)
        if left > 0 and 0 < len(going_on) < len(rows):
            chosen = torch.tensor(going_on, device=ids.device)
            cache.batch_select_indices(chosen)
            ids, mask = ids[chosen], mask[chosen]
        rows = [rows[place] for place in going_on]
    return [Generated(reply, total / max(1, len(reply))) for reply, total in zip(written, sums, strict=True)]


def _log_probabilities(scores: Sequence[torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """``(batch, time)`` from a score ``(batch, num_rows)`` for each step."""
    steps = [step.float().log_softmax(dim=-1).gather(1, ids[:, [time]]) for time, step in enumerate(scores)]
    return torch.cat(steps, dim=1).cpu()


def _settings(
    model: PreTrainedModel, decoding: DecodingConfig, end_ids: Collection[int], pad_id: int, with_probabilities: bool
) -> GenerationConfig:
    assert end_ids, "generation needs an id that ends a reply"
    drawn = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if decoding.temperature else {}
    return GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=decoding.temperature > 0,
        eos_token_id=sorted(end_ids),
        pad_token_id=pad_id,
        bos_token_id=None,
        return_dict_in_generate=True,
        output_scores=with_probabilities,
        use_cache=True,
        **drawn,
    )


def _within_context(model: PreTrainedModel, settings: GenerationConfig, longest: int) -> int:
    """How many tokens may be written: no more than the model's context has room for."""
    wanted = int(settings.max_new_tokens)
    context = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if context is not None and longest >= context:
        raise UserError(f"a prompt of {longest} tokens fills the model's context of {context}: give a shorter question")
    return wanted if context is None else min(wanted, context - longest)


@contextlib.contextmanager
def _drawing_from(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Seed transformers' sampling, which draws from the global generators, and put these back as they were."""
    seed = int(torch.randint(2**62, (), generator=generator)) if generator is not None else 0
    devices = [device] if device.type != "cpu" else []
    with torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
