"""Decoding: an iterator of steps over a batch of prompts, and whole replies made of it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor, PreTrainedModel

from cslm.errors import UserError
from cslm.files.progress import progress_bar
from cslm.generation.forward_passes import ForwardPasses
from cslm.generation.token_choice import TokenDraws, drawing_processors, model_processors, reply_generators

_STRETCH = 64  # steps between two copies of the cache, when the rows of replies that have ended leave the batch


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


class ReplyRules(NamedTuple):
    """What a reply is made of and what ends it."""

    grammar: LogitsProcessor
    """forbids what cannot follow"""
    end_ids: Collection[int]
    """a reply ends with one of these"""
    pad_id: int
    """any id: it follows a reply that has ended while its row is still in the batch"""


class Step(NamedTuple):
    """One token more for each reply that was still open."""

    prompts: list[int]
    """which prompts, by their index"""
    ids: list[int]
    """the new id of each"""
    log_probabilities: list[float] | None
    """of each id, after the grammar; None where it was not asked for"""


class Generated(NamedTuple):
    """What one prompt became."""

    ids: list[int]
    """the reply, with the id that ended it if it ended"""
    mean_log_probability: float
    """of the reply's ids, after the grammar (nan where it was not asked for)"""


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[Any]],
    rules: ReplyRules,
    decoding: DecodingConfig,
    generators: Sequence[torch.Generator] = (),
    with_probabilities: bool = False,
) -> Generator[Step, None, None]:
    """Write the replies to prompts ``(num_ids,)``, all at once, and yield after each step what is new.

    A step is computed when it is asked for. Closing the iterator stops the work and frees the cache. Nothing global is
    read or changed, so that several iterators may run in turns.

    Args:
        generators: one a prompt, which draws its tokens; needed where ``decoding.temperature`` is above 0.
        with_probabilities: also yield log probabilities.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    assert rules.end_ids, "generation needs an id that ends a reply"
    assert not decoding.temperature or len(generators) == len(prompts), "drawing needs a generator for each reply"
    num_steps = _within_context(model, decoding.max_new_tokens, max(len(prompt) for prompt in prompts))
    passes = ForwardPasses(model, prompts, num_steps)
    processors = [*model_processors(model), rules.grammar, *drawing_processors(decoding.temperature, decoding.top_p)]
    draws = TokenDraws(generators) if decoding.temperature else None
    rows: list[int | None] = list(range(len(prompts)))  # the prompt of each row; None once its reply has ended
    for number in range(1, num_steps + 1):
        scores = passes.next_logits()
        for processor in processors:
            scores = processor(passes.ids, scores)
        new = draws.draw(scores) if draws is not None else scores.argmax(dim=-1)
        sure = scores.log_softmax(dim=-1).gather(1, new[:, None])[:, 0].tolist() if with_probabilities else None
        ids = new.tolist()
        open_rows = [row for row, prompt in enumerate(rows) if prompt is not None]
        yield Step(
            [prompt for prompt in rows if prompt is not None],
            [ids[row] for row in open_rows],
            None if sure is None else [sure[row] for row in open_rows],
        )
        ended = [row for row in open_rows if ids[row] in rules.end_ids]
        if number == num_steps or len(ended) == len(open_rows):
            return
        passes.append(_padded(new, rows, rules.pad_id))
        for row in ended:
            rows[row] = None
        if number % _STRETCH == 0 and None in rows and passes.rows_can_leave:
            kept = [row for row, prompt in enumerate(rows) if prompt is not None]
            chosen = torch.tensor(kept, device=new.device)
            passes.keep(chosen)
            if draws is not None:
                draws.keep(chosen)
            rows = [rows[row] for row in kept]


def generate(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[Any]],
    rules: ReplyRules,
    decoding: DecodingConfig,
    generator: torch.Generator | None = None,
    with_probabilities: bool = False,
    description: str | None = None,
) -> list[Generated]:
    """The whole reply to each prompt ``(num_ids,)``, in batches of similar length.

    Args:
        generator: gives each reply its own (default: seed 0): drawn replies do not depend on the batches.
        with_probabilities: also give the mean log probability of each reply.
        description: shows a progress bar of this name.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    batches = [order[start : start + decoding.batch_size] for start in range(0, len(order), decoding.batch_size)]
    generators = reply_generators(generator, len(prompts))
    written: list[list[int]] = [[] for _ in prompts]
    sums = [0.0 if with_probabilities else float("nan")] * len(prompts)
    for batch in progress_bar(batches, len(batches), description) if description else batches:
        given, drawing = [prompts[index] for index in batch], [generators[index] for index in batch]
        for step in decode(model, given, rules, decoding, drawing, with_probabilities):
            for place, token_id in zip(step.prompts, step.ids, strict=True):
                written[batch[place]].append(token_id)
            for place, sure in zip(step.prompts, step.log_probabilities or (), strict=False):
                sums[batch[place]] += sure
    return [Generated(ids, total / max(1, len(ids))) for ids, total in zip(written, sums, strict=True)]


def _padded(ids: torch.Tensor, rows: Sequence[int | None], pad_id: int) -> torch.Tensor:
    """New ids ``(batch,)`` with padding where a reply had ended before."""
    if None not in rows:
        return ids
    return ids.masked_fill(torch.tensor([prompt is None for prompt in rows], device=ids.device), pad_id)


def context_length(model: PreTrainedModel) -> int | None:
    """The tokens that a model reads at most; None where nothing says so."""
    length: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return length


def _within_context(model: PreTrainedModel, wanted: int, longest: int) -> int:
    """How many tokens may be written: no more than the model's context has room for."""
    context = context_length(model)
    if context is not None and longest >= context:
        raise UserError(f"a prompt of {longest} tokens fills the model's context of {context}: give a shorter question")
    return wanted if context is None else min(wanted, context - longest)
