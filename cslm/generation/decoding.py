"""Decoding: an iterator of steps over a batch of prompts, and whole replies made of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor, PreTrainedModel

from cslm.errors import UserError
from cslm.files.progress import progress_bar
from cslm.generation.forward_passes import ForwardPasses
from cslm.generation.token_choice import (
    LEAST_TEMPERATURE,
    TokenDraws,
    drawing_processors,
    model_processors,
    reply_generators,
)

_STRETCH = 64  # steps between two copies of the cache, when the rows of replies that have ended leave the batch


@dataclass
class DecodingConfig:
    """How replies are decoded."""

    max_new_tokens: int = 2048
    """a reply is cut off after so many tokens"""
    temperature: float = 0.0
    """0 (or less than 0.00001) takes the most likely token each time; above, tokens are drawn"""
    top_p: float = 1.0
    """when drawing: only from the most likely tokens that hold this share of the probability"""
    batch_size: int = 96
    """prompts decoded together; when replies have ended, waiting prompts take their places"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.max_new_tokens < 1 or self.batch_size < 1:
            raise UserError("decoding: max_new_tokens and batch_size must be at least 1")
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1:
            raise UserError("decoding: temperature must be 0 or more, and top_p above 0 and at most 1")

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn, or the most likely one is taken."""
        return self.temperature >= LEAST_TEMPERATURE


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


class ReadPrompts(NamedTuple):
    """Prompts that were read, with the first id of each reply; not in the batch yet."""

    step: Step
    rows: list[int | None]
    left: dict[int, int]
    passes: ForwardPasses
    draws: TokenDraws | None


class RunningBatch:
    """Rows that are written together. A row leaves when its reply has ended, and rows of new prompts join.

    This is the one decoding loop, step by step: :func:`decode` runs it over a list of prompts; whoever serves many at
    a time admits and drops as they come and go. Not for several threads at once.
    """

    def __init__(
        self, model: PreTrainedModel, rules: ReplyRules, decoding: DecodingConfig, with_probabilities: bool = False
    ) -> None:
        assert rules.end_ids, "generation needs an id that ends a reply"
        self._model, self._rules, self._decoding, self._sure = model, rules, decoding, with_probabilities
        drawing = drawing_processors(decoding.temperature, decoding.top_p)
        self._processors = [*model_processors(model), rules.grammar, *drawing]
        self._passes: ForwardPasses | None = None
        self._draws: TokenDraws | None = None
        self._rows: list[int | None] = []  # the prompt of each row; None once its reply has ended
        self._left: dict[int, int] = {}  # ids that each prompt's reply may still get

    @property
    def num_open(self) -> int:
        """Replies that go on."""
        return len(self._left)

    @property
    def num_ended(self) -> int:
        """Rows of replies that have ended, which :meth:`make_room` takes out."""
        return len(self._rows) - len(self._left)

    @property
    def can_join(self) -> bool:
        """Whether others can be admitted now: none is open, or the model keeps nothing but keys and values."""
        return not self._left or (self._passes is not None and self._passes.rows_can_join)

    @torch.inference_mode()
    def read(
        self,
        numbers: Sequence[int],
        prompts: Sequence[NDArray[Any]],
        generators: Sequence[torch.Generator] = (),
        begun: ForwardPasses | None = None,
    ) -> ReadPrompts:
        """Read new prompts and write the first id of each reply, for :meth:`admit`. If it fails, the batch goes on.

        Args:
            numbers: what the prompts are called in steps; none of an open reply.
            generators: one a prompt, which draws its tokens; needed where it draws.
            begun: of a single prompt, passes that have read the beginning of it.

        Raises:
            UserError: a prompt that fills the model's context.
        """
        assert not self._decoding.draws or len(generators) == len(prompts), "drawing needs a generator a reply"
        wanted = self._decoding.max_new_tokens
        left = {n: within_context(self._model, wanted, len(one)) for n, one in zip(numbers, prompts, strict=True)}
        if not self._left:
            self._passes, self._draws, self._rows = None, None, []
        passes = begun if begun is not None else ForwardPasses(self._model, prompts)
        draws = TokenDraws(generators) if self._decoding.draws else None
        rows: list[int | None] = list(numbers)
        step, new = self._choose(passes, draws, rows, left)
        passes.append(new)
        return ReadPrompts(step, rows, left, passes, draws)

    @torch.inference_mode()
    def admit(self, read: ReadPrompts) -> Step:
        """Take prompts that were just read into the batch; the first id of each reply."""
        assert self.can_join, "this model's rows cannot be joined"
        if self._passes is None:
            self._passes, self._draws, self._rows = read.passes, read.draws, read.rows
        else:
            self._passes.join(read.passes)
            self._rows += read.rows
            if self._draws is not None and read.draws is not None:
                self._draws.join(read.draws)
        self._left |= read.left
        return read.step

    @torch.inference_mode()
    def step(self) -> Step:
        """One id more for each open reply: one forward pass."""
        assert self._passes is not None and self._left, "no reply is open"
        step, new = self._choose(self._passes, self._draws, self._rows, self._left)
        self._passes.append(new)
        return step

    def drop(self, number: int) -> None:
        """End a reply now. One that has ended is none."""
        if number in self._left:
            del self._left[number]
            self._rows[self._rows.index(number)] = None

    @torch.inference_mode()
    def make_room(self) -> None:
        """Take the rows of ended replies out, where that is possible."""
        if self._passes is None or not self._left or not self.num_ended or not self._passes.rows_can_leave:
            return
        kept = [row for row, number in enumerate(self._rows) if number is not None]
        chosen = torch.tensor(kept, device=self._model.device)
        self._passes.keep(chosen)
        if self._draws is not None:
            self._draws.keep(chosen)
        self._rows = [self._rows[row] for row in kept]

    def _choose(
        self, passes: ForwardPasses, draws: TokenDraws | None, rows: list[int | None], left: dict[int, int]
    ) -> tuple[Step, torch.Tensor]:
        """The next id of each row, padding where it has ended. Rows whose reply ends become None, and leave left."""
        scores = passes.next_logits()
        for processor in self._processors:
            scores = processor(passes.ids, scores)
        new = draws.draw(scores) if draws is not None else scores.argmax(dim=-1)
        sure = scores.log_softmax(dim=-1).gather(1, new[:, None])[:, 0].tolist() if self._sure else None
        ids, open_rows = new.tolist(), [row for row, number in enumerate(rows) if number is not None]
        chosen = scores.gather(1, new[:, None])[:, 0].tolist()
        assert all(math.isfinite(chosen[row]) for row in open_rows), "the grammar forbids the id that was chosen"
        step = Step(
            [number for number in rows if number is not None],
            [ids[row] for row in open_rows],
            None if sure is None else [sure[row] for row in open_rows],
        )
        padded = _padded(new, rows, self._rules.pad_id)
        for row in open_rows:
            number = rows[row]
            assert number is not None
            left[number] -= 1
            if ids[row] in self._rules.end_ids or not left[number]:
                del left[number]
                rows[row] = None
        return step, padded


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[Any]],
    rules: ReplyRules,
    decoding: DecodingConfig,
    generators: Sequence[torch.Generator] = (),
    with_probabilities: bool = False,
    begun: ForwardPasses | None = None,
) -> Generator[Step, None, None]:
    """Write the replies to prompts ``(num_ids,)``, and yield after each forward pass what is new.

    ``decoding.batch_size`` of them are written at once, in the order of the prompts; when replies have ended, waiting
    prompts take their places. A step is computed when it is asked for. Closing the iterator stops the work and frees
    the cache. Nothing global is read or changed, so that several iterators may run in turns.

    Args:
        generators: one a prompt, which draws its tokens; needed where ``decoding`` draws.
        with_probabilities: also yield log probabilities.
        begun: of a single prompt, passes that have read the beginning of it.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    for prompt in prompts:
        within_context(model, decoding.max_new_tokens, len(prompt))
    batch, waiting, since = RunningBatch(model, rules, decoding, with_probabilities), 0, 0
    while batch.num_open or waiting < len(prompts):
        if since % _STRETCH == 0 or not batch.num_open:
            batch.make_room()
            free = decoding.batch_size - batch.num_open
            if waiting < len(prompts) and free > 0 and batch.can_join:
                numbers = range(waiting, min(len(prompts), waiting + free))
                waiting, since = numbers.stop, 1
                chosen = slice(numbers.start, numbers.stop)
                yield batch.admit(batch.read(numbers, prompts[chosen], generators[chosen], begun))
        if batch.num_open:
            since += 1
            yield batch.step()


def generate(
    model: PreTrainedModel,
    prompts: Sequence[NDArray[Any]],
    rules: ReplyRules,
    decoding: DecodingConfig,
    generator: torch.Generator | None = None,
    with_probabilities: bool = False,
    description: str | None = None,
) -> list[Generated]:
    """The whole reply to each prompt ``(num_ids,)``, from the longest prompt on.

    Args:
        generator: gives each reply its own (default: seed 0): drawn replies do not depend on the batches.
        with_probabilities: also give the mean log probability of each reply.
        description: shows a progress bar of this name.

    Raises:
        UserError: a prompt that fills the model's context.
    """
    order = sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index))
    generators = reply_generators(generator, len(prompts))
    written: list[list[int]] = [[] for _ in prompts]
    sums = [0.0 if with_probabilities else float("nan")] * len(prompts)
    given, drawing = [prompts[index] for index in order], [generators[index] for index in order]
    steps: Iterable[Step] = decode(model, given, rules, decoding, drawing, with_probabilities)
    num_ended = 0
    if description is not None:
        steps = progress_bar(steps, None, description, lambda: f"{num_ended}/{len(prompts)} replies")
    longest = [within_context(model, decoding.max_new_tokens, len(prompt)) for prompt in prompts]
    for step in steps:
        for place, token_id in zip(step.prompts, step.ids, strict=True):
            reply = written[order[place]]
            reply.append(token_id)
            num_ended += token_id in rules.end_ids or len(reply) == longest[order[place]]
        for place, sure in zip(step.prompts, step.log_probabilities or (), strict=False):
            sums[order[place]] += sure
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


def within_context(model: PreTrainedModel, wanted: int, longest: int) -> int:
    """How many tokens may be written: no more than the model's context has room for.

    Raises:
        UserError: the prompt fills it.
    """
    context = context_length(model)
    if context is not None and longest >= context:
        raise UserError(f"a prompt of {longest} tokens fills the model's context of {context}: give a shorter question")
    return wanted if context is None else min(wanted, context - longest)
