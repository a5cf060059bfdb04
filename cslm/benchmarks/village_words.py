"""How far apart the village's names and values sound, by dynamic time warping over cepstra of the synthesizer's speech.

Every word is said alone by several voices. The distance of two words is that of the one in one voice to the other in
another voice, the mean over all pairs of voices, divided by the same for one and the same word: 1.0 is a pair that
sounds as alike as two voices saying one word. A voice is as clear as the share of its words that are nearest, on
average over the other voices, to the same word among all names and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from cslm.audio.espeak import Synthesizer
from cslm.audio.log_mel import LogMel
from cslm.errors import UserError
from cslm.village.language import Language
from cslm.village.tables import load_language, load_size

NUM_CEPSTRA = 12
_NUM_BANDS = 40
_WINDOW_SEC, _HOP_SEC = 0.032, 0.02


@dataclass(frozen=True)
class WordSounds:
    """The words of a language as they sound."""

    language: str
    kinds: dict[str, list[int]]
    """Names, and the values of each attribute: indices into ``words``."""
    words: list[str]
    distances: np.ndarray
    """``(num_words, num_words)``, relative to one word in two voices."""
    clearness: dict[str, float]
    """By voice."""

    def closest(self, kind: str, count: int) -> list[tuple[float, str, str]]:
        """The pairs of one kind that sound most alike: distance and words."""
        pairs = combinations(self.kinds[kind], 2)
        found = sorted((float(self.distances[one, other]), one, other) for one, other in pairs)[:count]
        return [(distance, self.words[one], self.words[other]) for distance, one, other in found]


def village_words(name: str, num_voices: int, variants: Sequence[str] = ()) -> WordSounds:
    """Say and compare the names and values of one language.

    Args:
        name: a table of the village, by its name or path.
        num_voices: of the language's asking voices, the first ones; two or more.
        variants: of the synthesizer, in the place of the table's own.

    Raises:
        UserError: no such table or voice, or fewer than two voices.
    """
    language = load_language(name, load_size("tiny"))
    pool = language.question_voices
    voices = [f"{accent}+{variant}" for variant in (variants or pool.variants) for accent in pool.accents][:num_voices]
    if len(voices) < 2:
        raise UserError(f"{name}: words are compared between voices; take two voices or more")
    kinds, words = _words(language)
    sounds = [_said(words, language, voice) for voice in voices]
    between = np.zeros((len(voices), len(voices), len(words), len(words)))
    for one, other in combinations(range(len(voices)), 2):
        between[one, other] = warped_distances(sounds[one], sounds[other])
        between[other, one] = between[one, other].T
    pairs = [(one, other) for one in range(len(voices)) for other in range(len(voices)) if one != other]
    mean = np.mean([between[pair] for pair in pairs], axis=0)
    clearness = {}
    for index, voice in enumerate(voices):
        heard = np.mean([between[index, other] for other in range(len(voices)) if other != index], axis=0)
        clearness[voice] = float(np.mean(heard.argmin(axis=1) == np.arange(len(words))))
    return WordSounds(language.language, kinds, words, mean / np.diag(mean).mean(), clearness)


def warped_distances(first: list[np.ndarray], second: list[np.ndarray]) -> np.ndarray:
    """Dynamic time warping of every sequence of ``first`` with every one of ``second``.

    Each is ``(num_frames, num_features)``; the sum of Euclidean distances along the best path is divided by the frames
    of both. Returns ``(len(first), len(second))``.
    """
    (rows, row_lengths), (columns, column_lengths) = _padded(first), _padded(second)
    distances = np.zeros((len(first), len(second)))
    above = np.full((columns.shape[1] + 1, len(first), len(second)), np.inf, dtype=np.float32)
    above[0] = 0
    for row in range(rows.shape[1]):
        flat = torch.cdist(rows[:, row], columns.flatten(0, 1))
        costs = flat.reshape(len(first), len(second), -1).permute(2, 0, 1).contiguous().numpy()
        here = np.full_like(above, np.inf)
        for column, cost in enumerate(costs):
            here[column + 1] = cost + np.minimum(np.minimum(above[column], above[column + 1]), here[column])
        for one in np.flatnonzero(row_lengths == row + 1):
            distances[one] = here[column_lengths, one, np.arange(len(second))]
        above = here
    return distances / (row_lengths[:, None] + column_lengths[None, :])


def table(sounds: Sequence[WordSounds], count: int) -> str:
    """The closest pairs of each language and kind, and how clear the voices are, as text for a page."""
    kinds = list(dict.fromkeys(kind for one in sounds for kind in one.kinds))
    lines = [f"| | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for one in sounds:
        pairs = [one.closest(kind, count) if kind in one.kinds else [] for kind in kinds]
        cells = [", ".join(_pair(*pair) for pair in of_kind) for of_kind in pairs]
        lines.append(f"| {one.language} | {' | '.join(cells)} |")
    lines += ["", "| | words told, by voice |", "|---|---|"]
    for one in sounds:
        told = ", ".join(f"{voice.split('+')[-1]} {share:.0%}" for voice, share in one.clearness.items())
        lines.append(f"| {one.language} | {told} |")
    return "\n".join(lines)


def _pair(distance: float, first: str, second: str) -> str:
    return f"{first} {second} {distance:.2f}"


def _words(language: Language) -> tuple[dict[str, list[int]], list[str]]:
    lists = {"names": language.names} | {name: table.values for name, table in language.attributes.items()}
    kinds: dict[str, list[int]] = {}
    words: list[str] = []
    for kind, entries in lists.items():
        kinds[kind] = list(range(len(words), len(words) + len(entries)))
        words += entries
    return kinds, words


def _said(words: list[str], language: Language, voice: str) -> list[np.ndarray]:
    """Cepstra of every word, ``(num_frames, NUM_CEPSTRA)`` each, of zero mean and variance one over the voice."""
    synthesizer, pool = Synthesizer(), language.question_voices
    synthesizer.reset()
    rate_hz = synthesizer.sample_rate_hz
    log_mel = LogMel(rate_hz, round(_WINDOW_SEC * rate_hz), round(_HOP_SEC * rate_hz), _NUM_BANDS, 60.0, 8000.0)
    orders = np.arange(1, NUM_CEPSTRA + 1)[None, :]
    cosines = np.cos(np.pi * (np.arange(_NUM_BANDS)[:, None] + 0.5) * orders / _NUM_BANDS)
    cepstra = []
    for word in words:
        speech = synthesizer.speak(word, voice, pool.rate_wpm, pool.pitch)
        samples = speech.waveform[: round(speech.words[-1][2] * rate_hz)].astype(np.float32) / 32768
        cepstra.append(log_mel(torch.from_numpy(samples)).numpy() @ cosines)
    frames = np.concatenate(cepstra)
    return [(one - frames.mean(axis=0)) / frames.std(axis=0) for one in cepstra]


def _padded(sequences: list[np.ndarray]) -> tuple[torch.Tensor, np.ndarray]:
    tensors = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in sequences]
    lengths = np.array([len(one) for one in sequences])
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths
