"""``show``: what is in a unit store, by language, or one utterance of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cslm.audio.waveform import save_waveform
from cslm.codecs.families import load_codec
from cslm.codecs.units import unit_string, unit_token
from cslm.configuration import parse_configuration
from cslm.errors import MissingExtraError, UserError
from cslm.units.store import StoreRow, UnitStore

_LENGTHS_SEC = (0.5, 1, 2, 5, 10, 20, 30, 60, float("inf"))


@dataclass
class ShowConfig:
    """Show what is in a unit store: ``show STORE [--id ID] [--plot FILE.png]``."""

    store: str
    """Folder of the store."""
    id: str | None = None
    """An utterance to show instead: its facts, text and units."""
    plot: str | None = None
    """Draw unit usage and lengths by language into this PNG file (needs the extra plot)."""
    play: str | None = None
    """Write the utterance's units as sound into this WAV file, by the card's own decoder."""
    tokenizer: str | None = None
    """Card whose decoder plays."""


@dataclass
class Usage:
    """Counts over the utterances of one language."""

    units: NDArray[np.int64]
    """How often each unit of the first codebook occurs, repeats merged where the store merges them (codebook_size,)."""
    num_utterances: int = 0
    num_units: int = 0
    num_frames: int = 0
    audio_sec: float = 0.0
    lengths: list[int] = field(default_factory=lambda: [0] * len(_LENGTHS_SEC))
    """Utterances up to each of the lengths."""

    def add(self, row: StoreRow) -> None:
        """Count one utterance."""
        self.units += np.bincount(row.units.ids[:, 0], minlength=len(self.units))
        self.num_utterances += 1
        self.num_units += len(row.units)
        self.num_frames += row.units.num_frames_total
        self.audio_sec += row.duration_sec
        self.lengths[int(np.searchsorted(_LENGTHS_SEC, row.duration_sec))] += 1

    @property
    def share_used(self) -> float:
        """Share of the codebook that occurs at all."""
        return float((self.units > 0).mean())

    @property
    def perplexity(self) -> float:
        """Exponential of the entropy of the units: as many units, equally frequent, would be as uncertain."""
        share = self.units[self.units > 0] / max(1, self.units.sum())
        return float(np.exp(-(share * np.log(share)).sum()))

    @property
    def share_merged(self) -> float:
        """Share of the frames that merging repeats saved."""
        return 1 - self.num_units / max(1, self.num_frames)


def usage_by_language(store: UnitStore) -> dict[str, Usage]:
    """Counts of every language, and of all together under ``all``."""
    found: dict[str, Usage] = {}
    for row in store:
        for language in (row.language, "all"):
            if language not in found:
                found[language] = Usage(np.zeros(store.codebook_sizes[0], np.int64))
            found[language].add(row)
    return {**{key: found[key] for key in sorted(found) if key != "all"}, "all": found["all"]}


def show(config: ShowConfig) -> str:
    """What ``show`` prints; writes the plot or the sound that is asked for.

    Raises:
        UserError: no store, no such utterance, or a card that cannot play.
    """
    store = UnitStore.open(config.store)
    if config.id is not None:
        row = store.row(store.index_of(config.id))
        if config.play is not None:
            _play(config, store, row)
        return "\n".join(_utterance_lines(row))
    if config.play is not None:
        raise UserError("to play, name the utterance too: --id ID")
    usage = usage_by_language(store)
    if config.plot is not None:
        _plot(usage, Path(config.plot))
    return "\n".join(_store_lines(store, usage))


def _store_lines(store: UnitStore, usage: dict[str, Usage]) -> Iterator[str]:
    header = store.header
    sizes = " + ".join(map(str, header.codebook_sizes))
    yield f"{store.path}: card {header.card}, {sizes} units, {header.frame_rate_hz:g} frames a second"
    yield header.fingerprint
    yield f"{len(header.shards)} shards, {header.num_rejected} utterances rejected"
    if header.in_documents:
        names = [name for name in store.column("document").tolist() if name is not None]
        yield f"{len(set(names)):,} documents of {len(names):,} utterances"
    yield ""
    columns = ("language", "utterances", "hours", "units/s", "repeats merged", "units used", "perplexity")
    yield "  ".join(f"{name:>{_width(name)}}" for name in columns)
    for language, one in usage.items():
        values = (
            language,
            f"{one.num_utterances:,}",
            f"{one.audio_sec / 3600:.2f}",
            f"{one.num_units / one.audio_sec:.1f}",
            f"{one.share_merged:.0%}",
            f"{one.share_used:.1%}",
            f"{one.perplexity:.1f}",
        )
        yield "  ".join(f"{value:>{_width(name)}}" for name, value in zip(columns, values, strict=True))
    yield ""
    yield "utterances by length, up to: " + "  ".join(
        f"{'longer' if limit == float('inf') else f'{limit:g} s'} {count:,}"
        for limit, count in zip(_LENGTHS_SEC, usage["all"].lengths, strict=True)
        if count
    )


def _width(name: str) -> int:
    return max(10, len(name))


def _utterance_lines(row: StoreRow) -> Iterator[str]:
    facts = f"{row.language}, {row.duration_sec:.2f} s, {row.units.num_frames_total} frames, {len(row.units)} units"
    place = None if row.document is None and row.place is None else _place(row)
    yield f"{row.id}: {facts}" + "".join(f", {name}" for name in (row.speaker, row.group, place) if name)
    yield row.text
    if row.units.durations is None:
        yield unit_string(row.units.ids)
    else:
        runs = zip(row.units.ids[:, 0].tolist(), row.units.durations.tolist(), strict=True)
        yield " ".join(f"{unit_token(unit)}x{count}" for unit, count in runs)
    for word, start_sec, end_sec in row.words or ():
        yield f"  {start_sec:7.2f} to {end_sec:6.2f}  {word}"


def _place(row: StoreRow) -> str:
    """To which document an utterance belongs, and to which place of it."""
    place = "" if row.place is None else f"place {row.place} of "
    return f"{place}{row.document}" if row.document is not None else f"place {row.place}"


def _play(config: ShowConfig, store: UnitStore, row: StoreRow) -> None:
    if config.tokenizer is None or config.play is None:
        raise UserError("to play, name the card too: --tokenizer CARD")
    codec = load_codec(config.tokenizer)
    if codec.fingerprint != store.fingerprint:
        raise UserError(f"{config.store} was made with {store.fingerprint}, {config.tokenizer} is {codec.fingerprint}")
    save_waveform(config.play, codec.decode(row.units), codec.sample_rate_hz)


def _plot(usage: dict[str, Usage], file: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "drawing a store") from None
    figure = Figure(figsize=(9, 6), layout="constrained")
    units, lengths = figure.subplots(2, 1)
    for language, one in usage.items():
        units.plot(np.sort(one.units)[::-1] / max(1, one.units.sum()), label=language)
        lengths.plot(one.lengths, marker="o", label=language)
    units.set(xlabel="units, most frequent first", ylabel="share", yscale="log")
    lengths.set(xlabel="up to seconds", ylabel="utterances")
    lengths.set_xticks(range(len(_LENGTHS_SEC)), [f"{limit:g}" for limit in _LENGTHS_SEC])
    units.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def main(arguments: list[str]) -> None:
    """Command line: the store, then options."""
    sys.stdout.write(show(parse_configuration(ShowConfig, arguments, "show", positionals=("store",))) + "\n")
