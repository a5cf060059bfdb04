"""What the sources of a run hold, and how often the run will read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cslm.batches.accounts import account_name
from cslm.batches.schedules import reckon
from cslm.batches.source_config import sample_progress
from cslm.batches.sources import Source, SourceConfig
from cslm.batches.stream import cap_of
from cslm.batches.weights import Cap, CapsConfig, Weight, check_weight, is_never_drawn, mean_shares, stage_starts
from cslm.errors import UserError
from cslm.model.flops import ModelFlops
from cslm.sequences.sequence import Sequence
from cslm.training.training_config import TrainingConfig

_SAMPLE = 256


@dataclass(frozen=True)
class SourcePlan:
    """One source; what was not read is None."""

    name: str
    """of the configuration"""
    task: str
    """of the configuration"""
    share: float
    """of the run's tokens"""
    run_tokens: int
    """that the run takes from it"""
    missing: str | None = None
    """why it could not be read"""
    documents: int | None = None
    """in one epoch"""
    tokens: int | None = None
    """in one epoch, from the mean length of a sample"""
    too_long: float = 0.0
    """share of the documents that are longer than max_length"""
    stage_tokens: tuple[int, ...] = ()
    """of ``run_tokens``, those of each stage of the run"""
    languages: Mapping[str, float] = field(default_factory=dict)
    """share of each language in its tokens; of what was not read those that it is asked for, as one: ``en+fr``"""
    told: tuple[str, ...] = ()
    """what it leaves out, or reads otherwise than it stands there"""
    lengths: tuple[int, ...] = field(default=(), repr=False)
    """tokens of the documents of the sample, cut to max_length"""
    targets: tuple[int, ...] = field(default=(), repr=False)
    """trained tokens of each"""
    sample: tuple[Sequence, ...] = field(default=(), repr=False)
    """these documents"""

    @property
    def epochs(self) -> float | None:
        """How often the run reads it from end to end."""
        return None if self.tokens is None else self.run_tokens / self.tokens

    def flops_per_token(self, costs: ModelFlops, max_length: int) -> float:
        """Operations of the model; an unread source counts as documents of the greatest length, all of it trained."""
        lengths, targets = self.lengths or (max_length,), sum(self.targets) if self.lengths else max_length
        return costs.step(lengths, targets) / sum(lengths)


def plan_sources(
    configs: Mapping[str, SourceConfig],
    training: TrainingConfig,
    open_source: Callable[[str], Source] | None,
    caps: CapsConfig | None = None,
) -> list[SourcePlan]:
    """The sources with a weight; those that cannot be read say why.

    Args:
        open_source: by name; None where there is no text tokenizer to read with.
        caps: of languages and tasks; they are kept where all sources can be read.

    Raises:
        UserError: no source has a weight, one is negative or no number, or caps that cannot be kept.
    """
    for name, config in configs.items():
        check_weight(name, config.weight)
    names = [name for name, config in configs.items() if not is_never_drawn(config.weight)]
    opened = {name: _opened(name, open_source) for name in names}
    found = [source for source in opened.values() if not isinstance(source, str)]
    read = {name: source for name, source in opened.items() if not isinstance(source, str)}
    by_name = {name: config.weight for name, config in configs.items()}
    reckon(read, by_name, training.schedule_tokens, training.tokens_per_step)
    cap = cap_of(caps, found) if caps is not None and len(found) == len(names) else None
    weights = [configs[name].weight for name in names]
    stages = _stage_shares(weights, cap, training)
    total = training.last_step * training.tokens_per_step
    plans = []
    for (name, source), shares in zip(opened.items(), stages.T.tolist(), strict=True):
        known = (name, configs[name].task, sum(shares), round(sum(shares) * total))
        by_stage = tuple(round(share * total) for share in shares)
        if isinstance(source, str):
            untold = "+".join(configs[name].languages or ["?"])
            plans.append(SourcePlan(*known, missing=source, stage_tokens=by_stage, languages={untold: 1.0}))
        else:
            plan = _read(known, source, training.max_length)
            found_languages, told = source.language_shares, tuple(map(str, source.told))
            plans.append(replace(plan, stage_tokens=by_stage, languages=found_languages, told=told))
    return plans


def planned_accounts(plans: list[SourcePlan]) -> dict[str, int]:
    """Tokens of the run by stage and language, as :mod:`~cslm.batches.accounts` names them."""
    accounts: dict[str, int] = {}
    for plan in plans:
        staged = len(plan.stage_tokens) > 1
        for stage, tokens in enumerate(plan.stage_tokens):
            for language, share in plan.languages.items() if tokens else ():
                name = account_name(language, stage if staged else None)
                accounts[name] = accounts.get(name, 0) + round(tokens * share)
    return accounts


def _stage_shares(weights: list[Weight], cap: Cap | None, training: TrainingConfig) -> npt.NDArray[np.float64]:
    """Shares of the run's tokens, ``(stages, sources)``: of its schedule as far as the run goes."""
    end = training.last_step / training.schedule_steps
    starts = [start for start in stage_starts(weights) if start < end]
    parts = list(pairwise([*starts, end]))
    return np.array([(stop - start) / end * mean_shares(weights, cap, start, stop) for start, stop in parts])


def _opened(name: str, open_source: Callable[[str], Source] | None) -> Source | str:
    """The source, or why it cannot be read."""
    if open_source is None:
        return "there is no text tokenizer to read it with"
    try:
        return open_source(name)
    except UserError as error:
        return str(error)


def _read(known: tuple[str, str, float, int], source: Source, max_length: int) -> SourcePlan:
    places = source.sample_places(_SAMPLE)
    sample = [source.sequence(place, place, sample_progress(number)) for number, place in enumerate(places)]
    lengths = [len(document) for document in sample]
    trained = [int(document.trained[1:].sum()) * min(1.0, max_length / len(document)) for document in sample]
    return SourcePlan(
        *known,
        documents=source.num_documents,
        tokens=round(source.num_documents * float(np.mean(lengths))),
        too_long=_share(length > max_length for length in lengths),
        lengths=tuple(min(length, max_length) for length in lengths),
        targets=tuple(round(count) for count in trained),
        sample=tuple(sample),
    )


def _share(found: Iterable[bool]) -> float:
    return float(np.mean(list(found)))


def micro_batch(plans: list[SourcePlan], training: TrainingConfig) -> tuple[list[int], int]:
    """Lengths of the documents of a full row, and how many of its tokens are trained, as sources mix them.

    Where sources were not read, documents have the greatest length and all of their tokens are trained. Where a row
    holds one document, it is the longest.
    """
    if not training.data.pack:
        longest = max((max(plan.lengths, default=training.max_length) for plan in plans), default=training.max_length)
        learnt = [sum(plan.targets) / sum(plan.lengths) if plan.lengths else 1.0 for plan in plans]
        return [longest], max(1, round(max(learnt, default=1.0) * longest))
    capacity = min(training.tokens_per_micro_batch, training.tokens_per_step)
    if any(plan.missing for plan in plans):
        full, rest = divmod(capacity, training.max_length)
        return [training.max_length] * full + [rest] * (rest > 0), capacity
    mean = sum(plan.share * float(np.mean(plan.lengths)) for plan in plans)
    trained = max(sum(plan.targets) / sum(plan.lengths) for plan in plans)
    full, rest = divmod(capacity, max(1, round(mean)))
    return [max(1, round(mean))] * full + [rest] * (rest > 0), max(1, round(trained * capacity))
