"""``gate-report``: which language the gate of a query bank hears: by true language, by length, on switched speech.

A manifest may have languages that the gate has never learnt: their rows say what it takes them for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cslm.audio.waveform import load_waveform
from cslm.configuration import parse_configuration, save_configuration
from cslm.corpora.intake import printable
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.evaluation.facts import share_scores
from cslm.files.atomic_file import write_atomically
from cslm.files.can_be_made import check_can_be_made
from cslm.files.progress import progress_bar
from cslm.ranges import Range, check_numbers

_BATCH = 16


@dataclass
class GateReportConfig:
    """A checkpoint with a gate, recordings, and where the report goes."""

    model: str
    """Folder of the checkpoint of a speech prompt."""
    manifests: list[str]
    """Manifests of recordings that it has not learnt from."""
    output: str
    """JSON file to write."""
    max_items: int = 200
    """Recordings of each language, evenly spread."""
    switched: int = 0
    """Pairs of recordings of two languages, one behind the other, that are heard as one."""
    edges_sec: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    """Where one length of recordings ends and the next begins, in seconds."""
    device: str = "auto"
    """auto, cpu, cuda."""
    seed: int = 0
    """Which recordings are joined."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "", max_items=Range(least=1), switched=Range(least=0))
        if (
            not self.edges_sec
            or list(self.edges_sec) != sorted(set(self.edges_sec))
            or any(edge <= 0 for edge in self.edges_sec)
        ):
            raise UserError(f"edges_sec is {self.edges_sec}: give rising numbers above 0")


class _Spoken(NamedTuple):
    samples: npt.NDArray[np.float32]
    language: str
    """of switched speech both, with a plus between them"""


def gate_report(config: GateReportConfig) -> dict[str, Any]:
    """Write and return the report: ``confusion`` (true language to what is heard), ``accuracy``, both ``by_length``.

    Recordings that cannot be read are ``rejected``, with their reasons.

    Raises:
        UserError: a checkpoint without a gate that hears, or not one recording that can be read.
    """
    import torch

    from cslm.encoders.runtime import BATCH_SEC, make_runtime
    from cslm.model.speech_prompt.prompt_checkpoint import open_prompt

    check_can_be_made("output", config.output)
    parts, settings = open_prompt(Path(config.model), make_runtime(config.device, BATCH_SEC))
    prompt = parts.prompt.to(make_runtime(config.device, BATCH_SEC).device).eval()
    gate = getattr(getattr(prompt.connector, "choice", None), "network", None)
    encoder = prompt.encoder
    if gate is None or encoder is None:
        raise UserError(f"{config.model} has no gate that hears: train one with connector.query_bank.gate")
    rejected: list[dict[str, str]] = []
    spoken = list(_spoken(config, encoder.sample_rate_hz, settings.languages, rejected))
    heard: list[str] = []
    for start in progress_bar(range(0, len(spoken), _BATCH), -(-len(spoken) // _BATCH), "listening"):
        batch = [one.samples for one in spoken[start : start + _BATCH]]
        with torch.inference_mode():
            found = dict(encoder(batch))
            frames = [found[index].to(next(gate.parameters())) for index in range(len(batch))]
            lengths = torch.tensor([len(one) for one in frames], device=frames[0].device)
            logits = gate(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)
        heard += [settings.languages[index] for index in logits.argmax(dim=-1).tolist()]
    report = _report(spoken, heard, settings.languages, encoder.sample_rate_hz, config.edges_sec)
    report["rejected"] = rejected
    output = Path(config.output)
    save_configuration(config, output.with_name(f"{output.stem}_config.yaml"))
    write_atomically(output, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    return report


def _spoken(
    config: GateReportConfig, rate_hz: int, known: Sequence[str], rejected: list[dict[str, str]]
) -> Iterator[_Spoken]:
    """The recordings of each language, and pairs of them in two languages of which one at least is ``known``.

    What cannot be read is added to ``rejected``.
    """
    by_language: dict[str, list[tuple[str, Utterance]]] = {}
    for manifest in config.manifests:
        for utterance in read_manifest(manifest):
            by_language.setdefault(utterance.language, []).append((resolve_audio(manifest, utterance), utterance))
    kept: dict[str, list[npt.NDArray[np.float32]]] = {}
    for language, rows in sorted(by_language.items()):
        places = np.unique(np.linspace(0, len(rows) - 1, config.max_items).round().astype(np.int64))
        chosen = [_samples(path, it, rate_hz, rejected) for path, it in (rows[place] for place in places.tolist())]
        if readable := [samples for samples in chosen if samples is not None]:
            kept[language] = readable
        yield from (_Spoken(samples, language) for samples in readable)
    if not kept:
        raise UserError(f"manifests: there is no recording that can be read in {config.manifests}: name others")
    generator, names = np.random.default_rng(config.seed), sorted(kept)
    if config.switched and (len(names) < 2 or not set(names) & set(known)):
        raise UserError(
            f"switched is {config.switched}, and the manifests have no two languages of which the gate knows one: give "
            "others beside them"
        )
    for _ in range(config.switched):
        first = second = ""
        while not {first, second} & set(known):  # of two that it does not know it could name neither
            first, second = (names[index] for index in generator.choice(len(names), 2, replace=False).tolist())
        parts = [kept[name][int(generator.integers(len(kept[name])))] for name in (first, second)]
        yield _Spoken(np.concatenate(parts), f"{first}+{second}")


def _samples(
    path: str, utterance: Utterance, rate_hz: int, rejected: list[dict[str, str]]
) -> npt.NDArray[np.float32] | None:
    part = utterance.start_sec, utterance.duration_sec, rate_hz
    try:
        return load_waveform(path, *part, channel=utterance.channel)[0]
    except UserError as error:
        rejected.append({"id": utterance.id, "reason": printable(str(error).replace(path, utterance.audio))})
        return None


def _report(
    spoken: Sequence[_Spoken], heard: Sequence[str], known: Sequence[str], rate_hz: int, edges_sec: Sequence[float]
) -> dict[str, Any]:
    names = _lengths(edges_sec)
    pairs = [(one.language, found) for one, found in zip(spoken, heard, strict=True)]
    where = [names[int(np.searchsorted(edges_sec, len(one.samples) / rate_hz, side="right"))] for one in spoken]
    lengths = {}
    for name in names:
        own = [
            (true, found) for (true, found), place in zip(pairs, where, strict=True) if place == name and true in known
        ]
        if own:
            hits = [true == found for true, found in own]
            scores = share_scores(hits, "accuracy")
            lengths[name] = {**scores, "n": len(own), "confusion": _confusion(own, known)}
    hits = [true == found for true, found in pairs if true in known]
    report = {"languages": list(known), **share_scores(hits, "accuracy"), "n": len(hits), "by_length": lengths}
    first_or_second = [found in true.split("+") for true, found in pairs if "+" in true]
    if first_or_second:
        report["switched"] = share_scores(first_or_second, "one_of_both") | {"n": len(first_or_second)}
    return {**report, "confusion": _confusion(pairs, known)}


def _confusion(pairs: Sequence[tuple[str, str]], known: Sequence[str]) -> dict[str, dict[str, int]]:
    """How often each true language is heard as each of those that are known, from pairs of both."""
    found: dict[str, dict[str, int]] = {}
    for true, heard in pairs:
        found.setdefault(true, dict.fromkeys(known, 0))[heard] += 1
    return found


def _lengths(edges_sec: Sequence[float]) -> list[str]:
    """Names of the lengths: below 1 s, 1 to 2 s, ..., 8 s and more."""
    inner = [f"{low:g} to {high:g} s" for low, high in pairwise(edges_sec)]
    return [f"below {edges_sec[0]:g} s", *inner, f"{edges_sec[-1]:g} s and more"]


def main(arguments: list[str]) -> None:
    """``gate-report MODEL --manifests [MANIFEST, ...] --output REPORT.json``"""
    print(
        json.dumps(gate_report(parse_configuration(GateReportConfig, arguments, "gate-report", ("model",))), indent=2)
    )
