"""Utterances that scores read: units of stores as they are, or audio of manifests, encoded by the checkpoint's card."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cslm.audio.waveform import load_waveform
from cslm.codecs.fingerprint import check_fingerprint
from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.evaluation.recognizers import Clip
from cslm.evaluation.scored_model import ScoredModel
from cslm.files.progress import progress_bar
from cslm.generation.processor import CSLMProcessor
from cslm.units.shards import HEADER
from cslm.units.store import UnitStore

_ENCODED_AT_ONCE = 32


class Spoken(NamedTuple):
    """What a score needs to know of an utterance."""

    units: Units
    language: str
    """by its tag"""


class Listed(NamedTuple):
    """An utterance without its units."""

    id: str
    language: str
    group: str | None
    document: str | None
    speaker: str | None


@dataclass(kw_only=True)
class SpokenSource:
    """Where utterances come from: stores or manifests, not both."""

    stores: list[str] = field(default_factory=list)
    """folders of unit stores that hold the utterances"""
    manifests: list[str] = field(default_factory=list)
    """instead of stores: manifests of the utterances, whose audio the card of the checkpoint encodes"""

    def files(self) -> list[str]:
        """The files that must be there."""
        return [*(f"{store}/{HEADER}" for store in self.stores), *self.manifests]

    def check(self, scored: ScoredModel, name: str) -> None:
        """There is one kind of source, and it fits the model.

        Args:
            name: of the settings, for messages.

        Raises:
            UserError: no source or both kinds, units of another speech tokenizer, or a model that has none.
        """
        if bool(self.stores) == bool(self.manifests):
            raise UserError(f"{name}: give stores, or else manifests whose audio is to be encoded")
        if self.manifests:
            scored.processor.speech_tokenizer()
        for store in self.opened(scored):
            check_store(store, scored.processor)

    def opened(self, scored: ScoredModel) -> list[UnitStore]:
        """The stores.

        Raises:
            UserError: one that cannot be read.
        """
        return [UnitStore.open(scored.path(store)) for store in self.stores]

    def listed(self, scored: ScoredModel) -> Iterator[Listed]:
        """All utterances, in their order.

        Raises:
            UserError: stores or manifests that cannot be read.
        """
        for store in self.opened(scored):
            columns = (store.column(name).tolist() for name in ("id", "group", "document", "speaker"))
            for language, (name, *others) in zip(store.languages().tolist(), zip(*columns, strict=True), strict=True):
                yield Listed(name, language, *others)
        for manifest in self.manifests:
            for one, _ in scored.utterances(manifest):
                yield Listed(one.id, one.language, one.group, one.document, one.speaker)

    def spoken(self, scored: ScoredModel, wanted: Collection[str]) -> tuple[dict[str, Spoken], dict[str, str]]:
        """The wanted utterances by their ids, and of each that there is not, why.

        Raises:
            UserError: stores or manifests that cannot be read, or two utterances of one id.
        """
        return self._of_stores(scored, wanted) if self.stores else self._of_manifests(scored, wanted)

    def _of_stores(self, scored: ScoredModel, wanted: Collection[str]) -> tuple[dict[str, Spoken], dict[str, str]]:
        found: dict[str, Spoken] = {}
        for store in self.opened(scored):
            names = store.column("id").tolist()
            for index in [index for index, name in enumerate(names) if name in wanted]:
                row = store.row(index, with_words=False)
                if row.id in found:
                    raise UserError(f"two stores hold the utterance {row.id!r} ({', '.join(self.stores)}): name one")
                found[row.id] = Spoken(row.units, language_tag(row.language))
        where = " and ".join(self.stores)
        return found, {name: f"{where} does not hold it" for name in wanted if name not in found}

    def _of_manifests(self, scored: ScoredModel, wanted: Collection[str]) -> tuple[dict[str, Spoken], dict[str, str]]:
        chosen: dict[str, tuple[Utterance, Path]] = {}
        for manifest in self.manifests:
            for utterance, path in scored.utterances(manifest):
                if utterance.id in chosen:
                    raise UserError(f"two manifests hold the utterance {utterance.id!r}: make every id unique")
                if utterance.id in wanted:
                    chosen[utterance.id] = (utterance, path)
        found, missing = encoded(scored.processor, chosen)
        where = " and ".join(self.manifests)
        return found, missing | {name: f"{where} does not hold it" for name in wanted if name not in chosen}


def encoded(
    processor: CSLMProcessor, recordings: Mapping[str, tuple[Utterance, Path]]
) -> tuple[dict[str, Spoken], dict[str, str]]:
    """The units of recordings by their names, and of each that cannot be encoded, why."""
    found: dict[str, Spoken] = {}
    missing: dict[str, str] = {}
    shown = iter(progress_bar(recordings.items(), len(recordings), "encode the recordings"))
    while batch := dict(islice(shown, _ENCODED_AT_ONCE)):
        clips: dict[str, Clip] = {}
        for name, (utterance, path) in batch.items():
            try:
                clips[name] = _clip(processor, utterance, path)
            except UserError as error:
                missing[name] = str(error)
        for name, units in zip(clips, processor.units_batch(list(clips.values())) if clips else (), strict=True):
            found[name] = Spoken(units, batch[name][0].language)
    return found, missing


def _clip(processor: CSLMProcessor, utterance: Utterance, path: Path) -> Clip:
    """The waveform of an utterance as the speech tokenizer takes it.

    Raises:
        UserError: it cannot be read, or is too short to hold a unit.
    """
    codec = processor.speech_tokenizer()
    part = utterance.start_sec, utterance.duration_sec
    waveform, rate = load_waveform(path, *part, sample_rate_hz=codec.sample_rate_hz, channel=utterance.channel)
    if len(waveform) < codec.min_num_samples:
        raise UserError(f"{path} is too short to hold a unit ({len(waveform) / rate:.3f} s)")
    return waveform, rate


def check_store(store: UnitStore, processor: CSLMProcessor) -> None:
    """The units of a store are those of the model.

    Raises:
        UserError: another speech tokenizer made them, or a model without units.
    """
    if tuple(store.codebook_sizes) != processor.vocabulary.codebook_sizes:
        raise UserError(
            f"the store {store.path} has codebooks {list(store.codebook_sizes)}, {processor.name} has "
            f"{list(processor.vocabulary.codebook_sizes)}: tokenize the corpus with the card of the model, or let "
            "take-codebooks take the first codebooks of a store that has more"
        )
    check_fingerprint(processor.fingerprint, store.fingerprint, processor.name, f"the store {store.path}")
