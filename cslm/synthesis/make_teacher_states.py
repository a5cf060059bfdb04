"""``make-teacher-states``: what a frozen language model makes of transcripts, once, for speech to be taught by.

Language-aware distillation (arXiv 2603.07025, section 3, L_OUT): the last hidden state after the header of the reply.
It is the same in every epoch, so it is computed once; the training step then runs the model on speech alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cslm.configuration import parse_configuration
from cslm.corpora.given_manifests import corpus_digest, with_manifests
from cslm.corpora.manifest import Utterance, read_manifest
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.units.make_samples import Makes, make_samples
from cslm.units.sample_store import TEACHER_STATES, Making, SampleHeader
from cslm.units.worker_processes import only_device, worker_devices


@dataclass
class MakeTeacherStatesConfig:
    """States of a teacher: ``make_teacher_states.py MANIFEST [MANIFEST ...] --llm MODEL --output STORE``."""

    manifests: list[str]
    """Manifests whose transcripts are read, in this order; their audio is not."""
    llm: str
    """The frozen language model: a folder or a Hub id. Speech is later put before the same one."""
    output: str
    """Folder of the store: a path or an fsspec URL."""
    revision: str | None = None
    """Of the Hub's model (default: its newest)."""
    dtype: str = "auto"
    """Of the weights: auto (as stored), float32, bfloat16, float16."""
    state_type: str = "float16"
    """Of a number in the store: float16 (8 KiB a sample for a model of 4,096) or float32."""
    batch_tokens: int = 8192
    """Ids read together, padding included."""
    utterances_per_shard: int = 1000
    """Transcripts in a shard: what a kill loses at most."""
    num_workers: int = 0
    """Processes (0: one on each accelerator, or one where there is none). Does not change the store."""
    device: str = "auto"
    """Where the model runs (auto: the first accelerator, else cpu)."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, by name.
        """
        one = Range(least=1)
        check_numbers(self, "", batch_tokens=one, utterances_per_shard=one, num_workers=Range(least=0))
        if self.state_type not in ("float16", "float32"):
            raise UserError(f"--state_type is {self.state_type!r}: give float16 or float32")


def make_teacher_states(config: MakeTeacherStatesConfig) -> SampleHeader:
    """Read every transcript; go on where an earlier run of the same work stopped.

    Raises:
        UserError: a bad manifest, a model that cannot be opened, a folder that holds other work, or not one transcript
            that can be read.
    """
    from cslm.model.frozen_llm import check_dtype, open_frozen_llm
    from cslm.synthesis.teacher_states import TeacherStates, open_teaching

    check_dtype(config.dtype)
    corpus = corpus_digest(config.manifests)
    devices = worker_devices(config.device, config.num_workers)
    llm = open_frozen_llm(config.llm, config.revision, config.dtype, only_device(devices))
    sizes = (config.batch_tokens, config.state_type)
    making = Making(
        kind=TEACHER_STATES,
        made_with=llm.hashes,
        settings={
            "batch_tokens": config.batch_tokens, "state_type": config.state_type, "dtype": str(llm.model.dtype),
        },
        samples=corpus.digest,
        num_samples=corpus.num_utterances,
        samples_per_shard=config.utterances_per_shard,
    )  # fmt: skip
    opens: Callable[[str], Makes] = functools.partial(open_teaching, config.llm, config.revision, config.dtype, *sizes)
    if len(devices) == 1:
        opens = functools.partial(_given, TeacherStates(llm, *sizes))
    samples = functools.partial(_samples, config.manifests)
    return make_samples(config.output, making, opens, samples, devices, "reading transcripts")


def _given(makes: Makes, device: str) -> Makes:
    return makes


def _samples(manifests: list[str]) -> Iterator[Utterance]:
    for manifest in manifests:
        yield from read_manifest(manifest)


def main(arguments: list[str]) -> None:
    """Command line: manifests first, then options."""
    make_teacher_states(parse_configuration(MakeTeacherStatesConfig, with_manifests(arguments), "make-teacher-states"))
