"""The contract of a speech tokenizer (a *codec*): waveforms in, units out, and back.

A *unit* is an index into a codebook. A codec gives one row of units a frame; runs of equal rows may be merged
(CSLM section 3.1), and then every row carries its duration in frames, so that nothing about time is lost.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError

Result = TypeVar("Result")

# Families of codecs: name on a card -> "module:Class". Imported only when a card of the family is opened.
FAMILIES = {
    "mel_kmeans": "cslm.units.mel_kmeans:MelKMeans",
    "ssl_kmeans": "cslm.units.ssl_kmeans:SslKMeans",
    "fairseq2_kmeans": "cslm.units.fairseq2_kmeans:Fairseq2KMeans",
    "s3": "cslm.units.s3:S3",
    "mimi": "cslm.units.mimi:Mimi",
    "speechtokenizer": "cslm.units.speechtokenizer_rvq:SpeechTokenizerRvq",
}

# Audio in a batch: on a CPU, larger ones leave its caches and are slower; a large GPU may like more.
BATCH_SEC = 20.0

_MOST_LOADING_THREADS = 8

# The longest run that one row of merged units may stand for: the store keeps durations in 16 bits.
LONGEST_RUN = 65535


@dataclass(frozen=True, eq=False)
class Units:
    """Units of one stretch of speech.

    ``ids`` is (num_rows, num_codebooks), integer: one row a frame, or one row a run of equal frames after merging.
    ``durations`` is (num_rows,): the frames of each run, at least 1; ``None`` where nothing was merged.
    """

    ids: NDArray[np.int64]
    durations: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        assert self.ids.ndim == 2, f"ids must be (num_rows, num_codebooks), got shape {self.ids.shape}"
        assert self.durations is None or self.durations.shape == (len(self.ids),), "one duration a row"

    def __len__(self) -> int:
        """Number of rows: frames, or runs after merging."""
        return len(self.ids)

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks, the width of ``ids``."""
        return int(self.ids.shape[1])

    @property
    def num_frames_total(self) -> int:
        """Number of frames that these units stand for, merged or not."""
        return len(self.ids) if self.durations is None else int(self.durations.sum())


def merge_repeats(units: Units) -> Units:
    """Merge runs of equal units; ``expand_repeats`` gives back the input exactly.

    A run longer than ``LONGEST_RUN`` frames (44 minutes at 25 Hz) becomes several rows.

    Raises:
        UserError: units of more than one codebook, whose rows hardly ever repeat.
    """
    if units.num_codebooks != 1:
        raise UserError(f"repeats are merged with one codebook only, these units have {units.num_codebooks}")
    if units.durations is not None:
        units = expand_repeats(units)
    ids = units.ids[:, 0]
    if len(ids) == 0:
        return Units(units.ids, np.zeros(0, np.int64))
    starts = np.concatenate([[0], np.flatnonzero(ids[1:] != ids[:-1]) + 1])
    durations = np.diff(np.append(starts, len(ids)))
    if durations.max() > LONGEST_RUN:
        starts, durations = _split_long_runs(starts, durations)
    return Units(units.ids[starts], durations.astype(np.int64))


def expand_repeats(units: Units) -> Units:
    """One row a frame again; units without durations come back as they are."""
    if units.durations is None:
        return units
    return Units(np.repeat(units.ids, units.durations, axis=0))


def cut(units: Units, start_frame: int, stop_frame: int) -> Units:
    """The units of frames ``start_frame`` to ``stop_frame`` (exclusive); a run across a border is cut in two.

    Borders outside the units are moved inside. Works on merged and unmerged units, and keeps them so.
    """
    start = min(max(start_frame, 0), units.num_frames_total)
    stop = min(max(stop_frame, start), units.num_frames_total)
    if units.durations is None:
        return Units(units.ids[start:stop])
    ends = np.cumsum(units.durations)
    begins = ends - units.durations
    inside = np.minimum(ends, stop) - np.maximum(begins, start)
    kept = inside > 0
    return Units(units.ids[kept], inside[kept])


def unit_token(unit: int, codebook: int = 0) -> str:
    """The surface form of a unit: ``<12>`` in the first codebook, ``<1:12>`` in the second."""
    return f"<{unit}>" if codebook == 0 else f"<{codebook}:{unit}>"


def unit_string(ids: NDArray[np.int64]) -> str:
    """The surface forms of units (num_rows, num_codebooks), row by row."""
    return "".join(unit_token(unit, book) for row in ids.tolist() for book, unit in enumerate(row))


def _split_long_runs(starts: NDArray[np.int64], durations: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    pieces = -(-durations // LONGEST_RUN)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    offsets = (np.arange(pieces.sum()) - first) * LONGEST_RUN
    return np.repeat(starts, pieces) + offsets, np.minimum(np.repeat(durations, pieces) - offsets, LONGEST_RUN)


def in_order(pairs: Iterable[tuple[int, Result]]) -> list[Result]:
    """Results by their index, 0, 1, 2, ..."""
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]


def check_long_enough(waveforms: Sequence[NDArray[np.float32]], min_num_samples: int) -> None:
    """Make sure that every waveform has a frame.

    Raises:
        UserError: one has not.
    """
    for waveform in waveforms:
        if len(waveform) < min_num_samples:
            raise UserError(f"too short: {len(waveform)} samples, one frame has {min_num_samples}")


@dataclass
class Runtime:
    """How a codec runs, as opposed to what it computes: nothing of it is on the card or in the fingerprint.

    Where neural networks are batched it may change a unit in ten thousand (``check-tokenizer`` measures it).
    """

    device: str = "cpu"
    """Where networks run: ``cpu``, ``cuda``, ``cuda:1``."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch, padding included; one longer utterance is a batch."""
    loading_threads: int = 1
    """Threads that read audio while a network runs."""
    num_frames: int = 0
    """Frames that were batched so far."""
    num_slots: int = 0
    """The same with padding."""

    def groups(self, lengths: Sequence[int], frame_rate_hz: float) -> Iterator[list[int]]:
        """Indices of utterances, shortest first, a batch at a time; ``lengths`` in frames."""
        limit, group = self.batch_sec * frame_rate_hz, list[int]()
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            if group and (len(group) + 1) * lengths[index] > limit:
                yield self._counted(group, lengths)
                group = []
            group.append(index)
        if group:
            yield self._counted(group, lengths)

    def in_batches(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        lengths: Sequence[int],
        frame_rate_hz: float,
        function: Callable[[list[NDArray[np.float32]]], Sequence[Result]],
    ) -> Iterator[tuple[int, Result]]:
        """Index and result of each waveform, from a function of a batch of them; ``lengths`` in frames."""
        for chosen in self.groups(lengths, frame_rate_hz):
            yield from zip(chosen, function([waveforms[i] for i in chosen]), strict=True)

    def _counted(self, group: list[int], lengths: Sequence[int]) -> list[int]:
        self.num_frames += sum(lengths[i] for i in group)
        self.num_slots += len(group) * lengths[group[-1]]
        return group


def make_runtime(device: str, batch_sec: float) -> Runtime:
    """A runtime; ``auto`` is the first accelerator, or the CPU.

    Raises:
        UserError: a device that this machine does not have, or batches of no length.
    """
    import torch  # here: the store and the vocabulary read units without it

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device == "auto":
        device = str(accelerator) if accelerator is not None else "cpu"
    if device.partition(":")[0] not in ("cpu", str(accelerator)):
        raise UserError(f"device {device!r}: this machine has {accelerator or 'no accelerator'}; give auto or cpu")
    if device.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa would change units
    if not batch_sec > 0:
        raise UserError(f"batch_sec is {batch_sec}: more than 0 is needed")
    if device == "cpu":
        return Runtime(device, batch_sec)
    cores = len(os.sched_getaffinity(0)) // torch.accelerator.device_count()
    return Runtime(device, batch_sec, max(1, min(_MOST_LOADING_THREADS, cores)))


class UnitCodec(Protocol):
    """What every family of speech tokenizers offers."""

    is_neural: bool
    """Runs a network: on an accelerator if there is one, and in batches, which may change units by rounding."""

    runtime: Runtime
    """How it runs."""

    @property
    def name(self) -> str:
        """Name on the card."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the units (``cslm.units.fingerprint``)."""

    @property
    def sample_rate_hz(self) -> int:
        """Rate of the waveforms that ``encode`` takes."""

    @property
    def frame_rate_hz(self) -> float:
        """Rows of units a second, before merging."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of units in each codebook."""

    @property
    def min_num_samples(self) -> int:
        """Shortest waveform that has units; a shorter one is refused as too short."""

    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Units]:
        """Units, not merged, of each waveform ``(num_samples,)``, which never depend on its neighbours in the list.

        Raises:
            UserError: a waveform shorter than ``min_num_samples``.
        """

    def decode(self, units: Units) -> NDArray[np.float32]:
        """A waveform ``(num_samples,)`` of ``sample_rate_hz`` that sounds like the units.

        Raises:
            UserError: the card has no vocoder.
        """


def family_class(name: str) -> Any:
    """The class of a family, imported now.

    Raises:
        UserError: no family of that name.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown family of speech tokenizers {name!r}; known: {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
