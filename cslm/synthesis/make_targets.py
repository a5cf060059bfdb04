"""``make-targets``: what a frozen language model answers to transcripts, once, for speech to be taught by.

Behaviour imitation (MTBI, arXiv 2505.18644, step 1): the model reads each transcript under a task prompt and decodes
greedily. The store keeps the ids that it wrote, whether it was cut off, and the prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cslm.configuration import parse_configuration
from cslm.corpora.given_manifests import corpus_digest, with_manifests
from cslm.corpora.manifest import Utterance, read_manifest
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.sequences.task_pool import read_pool
from cslm.synthesis.drawn_prompts import DrawnPrompts, pool_for
from cslm.units.make_samples import Makes, make_samples
from cslm.units.sample_store import TARGETS, Making, SampleHeader
from cslm.units.worker_processes import only_device, worker_devices

POOL = "task pool"


@dataclass
class MakeTargetsConfig:
    """Targets to imitate: ``make_targets.py MANIFEST [MANIFEST ...] --llm MODEL --output STORE``."""

    manifests: list[str]
    """Manifests whose transcripts are answered, in this order; their audio is not read."""
    llm: str
    """The frozen language model: a folder or a Hub id. Speech is later put before the same one."""
    output: str
    """Folder of the store: a path or an fsspec URL."""
    revision: str | None = None
    """Of the Hub's model (default: its newest)."""
    condition: str = "tasks"
    """What is asked: none (the transcript alone, as AZeroS), continuation (as BLSP) or tasks (of the pool: MTBI)."""
    pool: str | None = None
    """YAML of tasks and wordings (default: the one that comes with the package)."""
    tasks: list[str] | None = None
    """Only these tasks of the pool (default: all)."""
    cells: list[str] = field(default_factory=lambda: ["seen"])
    """What is asked for of the grid: seen (for training), unseen_wordings, unseen_tasks, unseen_both (to score)."""
    prompts: int = 1
    """Prompts for each transcript in each cell, drawn without repetition; 0: all that there are."""
    max_new_tokens: int = 256
    """Longer answers are cut off there, and learnt without an end."""
    batch_size: int = 32
    """Prompts decoded together."""
    utterances_per_shard: int = 500
    """Transcripts in a shard: what a kill loses at most."""
    dtype: str = "auto"
    """Of the weights: auto (as stored), float32, bfloat16, float16."""
    num_workers: int = 0
    """Processes (0: one on each accelerator, or one where there is none). Does not change the store."""
    device: str = "auto"
    """Where the model runs (auto: the first accelerator, else cpu)."""
    seed: int = 0
    """Which prompts are drawn."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        at_least_one = Range(least=1)
        check_numbers(
            self, "", prompts=Range(least=0), num_workers=Range(least=0), max_new_tokens=at_least_one,
            batch_size=at_least_one, utterances_per_shard=at_least_one,
        )  # fmt: skip


class Sample(NamedTuple):
    """What is asked about one utterance."""

    utterance: Utterance
    prompts: list[tuple[str, Any]]
    """cell and prompt of each"""


def make_targets(config: MakeTargetsConfig) -> SampleHeader:
    """Answer every transcript; go on where an earlier run of the same work stopped.

    Raises:
        UserError: a bad manifest or pool, a model that cannot be opened, a folder that holds other work, or not one
            transcript that can be answered.
    """
    from cslm.model.frozen_llm import check_dtype, open_frozen_llm
    from cslm.synthesis.answered_transcripts import AnsweredTranscripts, open_answering

    unread = ("tasks",) if config.condition == "continuation" else ("tasks", "pool")
    for key in () if config.condition == "tasks" else unread:
        if getattr(config, key) is not None:
            raise UserError(f"{key} is given, and the condition {config.condition} does not read it: leave it out")
    pool = pool_for(config.condition, read_pool(config.pool), config.tasks)
    drawn = DrawnPrompts(pool, config.cells, config.prompts, config.seed)
    corpus = corpus_digest(config.manifests)
    check_dtype(config.dtype)
    devices = worker_devices(config.device, config.num_workers)
    llm = open_frozen_llm(config.llm, config.revision, config.dtype, only_device(devices))
    making = Making(
        kind=TARGETS,
        made_with={**llm.hashes, POOL: pool.digest},
        settings={
            "condition": config.condition, "tasks": sorted(pool.tasks), "cells": list(config.cells),
            "prompts": config.prompts, "seed": config.seed, "max_new_tokens": config.max_new_tokens,
            "batch_size": config.batch_size, "dtype": str(llm.model.dtype),
        },
        samples=corpus.digest,
        num_samples=corpus.num_utterances,
        samples_per_shard=config.utterances_per_shard,
    )  # fmt: skip
    sizes = (config.max_new_tokens, config.batch_size)
    opens: Callable[[str], Makes] = functools.partial(
        open_answering, config.llm, config.revision, config.dtype, pool, *sizes
    )
    if len(devices) == 1:
        given: Makes = AnsweredTranscripts(llm, pool, *sizes)
        opens = functools.partial(_given, given)
    return make_samples(
        config.output, making, opens, functools.partial(_samples, config.manifests, drawn), devices, "answering"
    )


def _given(makes: Makes, device: str) -> Makes:
    return makes


def _samples(manifests: list[str], drawn: DrawnPrompts) -> Iterator[Sample]:
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            yield Sample(utterance, drawn.of(utterance.id, utterance.language))


def main(arguments: list[str]) -> None:
    """Command line: manifests first, then options."""
    make_targets(parse_configuration(MakeTargetsConfig, with_manifests(arguments), "make-targets"))
