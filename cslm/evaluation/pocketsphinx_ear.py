"""An English ear that never met the model: PocketSphinx, its wheel's acoustic model, and a bigram of given sentences.

A clip is brought to 16 kHz and to one loudness, and gets a fifth of a second of silence on either side and a little
noise: synthesizers write digital silence, which the acoustic model never heard. Each clip is normalised by itself, so
that neither order nor neighbours change what is heard.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.audio.waveform import resample, to_int16
from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError
from cslm.evaluation.bigram import write_bigram_arpa
from cslm.evaluation.error_rates import normalize
from cslm.evaluation.recognizers import Clip

SAMPLE_RATE_HZ = 16000
_SILENCE_SEC, _PEAK, _NOISE = 0.2, 0.5, 0.003
_WORKER = Path(__file__).with_name("pocketsphinx_worker.py")
_ANOTHER_PRONUNCIATION = re.compile(r"\(\d+\)$")


class PocketSphinxRecognizer:
    """PocketSphinx with a bigram language model; several processes, since it does not let go of Python's lock."""

    def __init__(self, sentences: Iterable[str], num_workers: int = 1) -> None:
        """Make the language model.

        Args:
            sentences: English sentences of the kind that will be heard, but not the very ones.
            num_workers: processes.

        Raises:
            UserError: PocketSphinx is not installed, or there is no sentence that it has the words for.
        """
        words = [normalize(sentence, "en").split() for sentence in sentences]
        vocabulary = {word for row in words for word in row}
        self._pronunciations = _pronunciations(vocabulary)
        self.unknown_words = sorted(vocabulary - self._pronunciations.keys())
        if self.unknown_words:
            print(f"pocketsphinx has no pronunciation of {len(self.unknown_words)} words, left out: "
                  f"{', '.join(self.unknown_words[:12])}", flush=True)  # fmt: skip
        self._sentences = [[word for word in row if word in self._pronunciations] for row in words]
        if not any(self._sentences):
            raise UserError("pocketsphinx: no sentence holds an English word that it knows: give English sentences")
        self._num_workers = max(1, num_workers)

    def hears(self, language: str) -> bool:
        """English."""
        return language_tag(language).split("-")[0] == "en"

    def transcribe(self, clips: Sequence[Clip], languages: Sequence[str]) -> list[str]:
        """The text of each clip, in lower case; no samples, no text."""
        assert all(self.hears(language) for language in languages)
        with tempfile.TemporaryDirectory(prefix="cslm-ear-") as name:
            folder = Path(name)
            self._write_models(folder)
            prepared = [_prepared(waveform, rate) for waveform, rate in clips]
            order = sorted(range(len(clips)), key=lambda index: (-len(prepared[index]), index))
            shares = [order[worker :: self._num_workers] for worker in range(min(self._num_workers, len(order)))]
            workers = [_start(folder, str(i), [prepared[c] for c in share]) for i, share in enumerate(shares)]
            texts = [""] * len(clips)
            for share, worker in zip(shares, workers, strict=True):
                for index, text in zip(share, _result(worker), strict=True):
                    texts[index] = text
        return texts

    def _write_models(self, folder: Path) -> None:
        write_bigram_arpa(self._sentences, folder / "bigram.arpa")
        lines = [line for word in sorted(self._pronunciations) for line in self._pronunciations[word]]
        (folder / "words.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pronunciations(words: set[str]) -> dict[str, list[str]]:
    """The lines of the wheel's dictionary for each of the words that it holds."""
    try:
        import pocketsphinx
    except ModuleNotFoundError:
        raise MissingExtraError("pocketsphinx", "ear", "the ear that never met the model") from None
    lines: dict[str, list[str]] = {}
    with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as dictionary:
        for line in dictionary:
            word = _ANOTHER_PRONUNCIATION.sub("", line.split(" ", 1)[0])
            if word in words:
                lines.setdefault(word, []).append(line.rstrip("\n"))
    return lines


def _prepared(waveform: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.int16]:
    if len(waveform) == 0:
        return np.zeros(0, np.int16)
    sound = resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ)
    sound = sound * (_PEAK / max(1e-4, float(np.abs(sound).max(initial=0.0))))
    sound = np.pad(sound, round(_SILENCE_SEC * SAMPLE_RATE_HZ))
    return to_int16(sound + _NOISE * np.random.default_rng(0).standard_normal(len(sound)))


def _start(folder: Path, name: str, clips: list[NDArray[np.int16]]) -> subprocess.Popen[str]:
    """Start a process on some clips; it prints a JSON list of texts."""
    np.savez(folder / f"{name}.npz", samples=np.concatenate(clips), lengths=[len(clip) for clip in clips])
    command: list[Any] = [sys.executable, "-P", _WORKER, folder, f"{name}.npz"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _result(worker: subprocess.Popen[str]) -> list[str]:
    output, _ = worker.communicate()
    if worker.returncode != 0:
        raise RuntimeError(f"a PocketSphinx process ended with status {worker.returncode}")
    texts: list[str] = json.loads(output)
    return texts
