"""``fit-tokenizer``: a speech tokenizer from a sample of a corpus."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform
from cslm.codecs.card import Card, load_card, save_card
from cslm.codecs.families import family_class
from cslm.codecs.fingerprint import canonical_json
from cslm.configuration import parse_configuration
from cslm.corpora.given_manifests import with_manifests
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.files.progress import progress_bar

# No corpus has so many utterances shorter than this that a sample of the wanted length would miss them.
_SHORTEST_MEAN_SEC = 0.25


@dataclass
class FitTokenizerConfig:
    """Fit a speech tokenizer: ``fit_tokenizer.py MANIFEST [MANIFEST ...] --output CARD.yaml``."""

    manifests: list[str]
    """Manifests to draw the sample from."""
    output: str
    """The card to write (YAML); its tensors go beside it."""
    family: str = "mel_kmeans"
    """Family of the tokenizer."""
    codebook_size: int = 256
    """Number of units."""
    sample_hours: float = 1.0
    """How much audio to draw, at random over all utterances."""
    seed: int = 0
    """Decides the sample and where the clustering starts."""
    name: str | None = None
    """Name on the card (default: family and codebook size)."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Parameters of the family that differ from its defaults."""
    device: str = "auto"
    """Where networks run (auto: the first accelerator, else cpu)."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch of a neural family."""


def fit_tokenizer(config: FitTokenizerConfig) -> Card:
    """Draw a sample, fit the family's codec on it, and write its card. Deterministic for a seed.

    A card that the same command already made is left as it is.

    Raises:
        UserError: a bad manifest, too little audio, unknown parameters, or another card at ``output``.
    """
    family = family_class(config.family).fittable()
    parameters = family.parameters_from(config.parameters, f"parameters of {config.family}")
    if config.codebook_size < 2 or config.sample_hours <= 0:
        raise UserError("codebook_size must be at least 2 and sample_hours more than 0")
    sample, digest = _sample_utterances(config)
    request = {
        "corpus": digest,
        "sample_hours": config.sample_hours,
        "seed": config.seed,
        "codebook_size": config.codebook_size,
        "parameters": config.parameters,
        "family": config.family,
    }
    finished = _finished_card(config, request)
    if finished is not None:
        print(f"{config.output} is already fitted on this corpus with these settings", file=sys.stderr)
        return finished
    name = config.name or f"{config.family}-{config.codebook_size}"
    waveforms = _Waveforms(sample, family.sample_rate_of(parameters), config.sample_hours)
    codec, facts = family.fit(
        waveforms,
        name=name,
        parameters=parameters,
        codebook_size=config.codebook_size,
        seed=config.seed,
        runtime=make_runtime(config.device, config.batch_sec),
    )
    card = save_card(codec.card(origin={"fitted_on": {**request, **facts}}), config.output, codec.tensors)
    told = ", ".join(f"{key} {value}" for key, value in facts.items())
    skipped = f", {waveforms.num_skipped} files could not be used" if waveforms.num_skipped else ""
    print(f"{config.output}: {config.codebook_size} units from {waveforms.audio_sec / 3600:.2f} hours{skipped}; {told}")
    return card


class _Waveforms:
    """The waveforms of the sample until it is long enough; counts what could not be used."""

    def __init__(self, sample: list[tuple[str, Utterance]], sample_rate_hz: int, hours: float) -> None:
        self.sample, self.sample_rate_hz, self.wanted_sec = sample, sample_rate_hz, hours * 3600
        self.audio_sec = 0.0
        self.num_skipped = 0

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        total = self._num_needed()
        for manifest, utterance in progress_bar(self.sample[:total], total, "reading a sample to fit on"):
            if self.audio_sec >= self.wanted_sec:
                break
            try:
                part = (utterance.start_sec, utterance.duration_sec)
                path = resolve_audio(manifest, utterance)
                waveform, _ = load_waveform(path, *part, self.sample_rate_hz, channel=utterance.channel)
            except UserError:
                self.num_skipped += 1
                continue
            self.audio_sec += len(waveform) / self.sample_rate_hz
            yield waveform

    def _num_needed(self) -> int | None:
        """How many utterances make up the hours, where the manifest says how long they are."""
        durations = [utterance.duration_sec for _, utterance in self.sample]
        if None in durations:
            return None
        sums = np.cumsum(np.array(durations, dtype=np.float64))
        return min(int(np.searchsorted(sums, self.wanted_sec)) + 1, len(durations))


def _sample_utterances(config: FitTokenizerConfig) -> tuple[list[tuple[str, Utterance]], str]:
    """A random sample of utterances in random order (reservoir sampling: bounded memory), and a hash of the corpus."""
    generator = np.random.default_rng(config.seed)
    size = max(1, int(config.sample_hours * 3600 / _SHORTEST_MEAN_SEC))
    digest, reservoir, count = hashlib.sha256(), list[tuple[str, Utterance]](), 0
    for manifest in config.manifests:
        for utterance in read_manifest(manifest):
            where = [utterance.id, utterance.audio, utterance.start_sec, utterance.duration_sec]
            where += [] if utterance.channel is None else [utterance.channel]
            digest.update(canonical_json(where).encode())
            count += 1
            slot = len(reservoir) if len(reservoir) < size else int(generator.integers(count))
            if slot == len(reservoir):
                reservoir.append((manifest, utterance))
            elif slot < size:
                reservoir[slot] = (manifest, utterance)
    if not reservoir:
        raise UserError(f"{', '.join(config.manifests)}: no utterances to fit on")
    order = generator.permutation(len(reservoir))
    return [reservoir[i] for i in order], f"sha256:{digest.hexdigest()}"


def _finished_card(config: FitTokenizerConfig, request: dict[str, Any]) -> Card | None:
    if not Path(config.output).exists():
        return None
    card = load_card(config.output)
    found = card.origin.get("fitted_on", {})
    different = [key for key in request if canonical_json(found.get(key)) != canonical_json(request[key])]
    if different:
        raise UserError(f"{config.output} exists and was fitted with another {different[0]}: remove it or name another")
    return card


def main(arguments: list[str]) -> None:
    """Command line: manifests first, then options."""
    fit_tokenizer(parse_configuration(FitTokenizerConfig, with_manifests(arguments), "fit-tokenizer"))
