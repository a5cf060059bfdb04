"""The speech of one utterance while its units still come: the samples of the whole, some at a time.

Every net of the decoder has a bounded reach, and noise belongs to frames. So a part is computed on a window that holds
all that it depends on, and is what :meth:`SpeechDecoder.decode` makes of the whole, up to rounding; nothing is faded.
What a part waits for: the units behind it that durations and encoder reach, then the spectrogram frames that the flow
and the vocoder reach.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cslm.codecs.units import Units
from cslm.decoder.duration import whole_frames
from cslm.decoder.speech_decoder import SpeechDecoder

MEL_FRAMES_A_TIME = 24
"""fewer new frames are not worth a window: 0.28 s at 22,050 Hz"""

_ROWS_A_TIME = 4  # whose durations are worth a pass: each takes the language model beside it time


class Sound(NamedTuple):
    """The next samples of an utterance."""

    samples: NDArray[np.float32]
    """(num_samples,) in [-1, 1]"""
    unit_ends: tuple[int, ...]
    """where in the utterance, in samples, the rows of units end that have sounded whole since the samples before"""


class SpeechStream:
    """Units in, samples out, for one utterance in one voice."""

    def __init__(self, decoder: SpeechDecoder, voice: str, seed: int = 0, mel_frames_a_time: int | None = None) -> None:
        """Begin an utterance.

        Args:
            seed: of the noise.
            mel_frames_a_time: a window is computed once so many new frames would come of it, or at the end (default:
                :data:`MEL_FRAMES_A_TIME`, or the reach of the vocoder if that is more).

        Raises:
            UserError: an unknown voice.
        """
        self._decoder, self._seed = decoder, seed
        self._mel_frames_a_time = mel_frames_a_time or max(MEL_FRAMES_A_TIME, decoder.vocoder.reach)
        self._voice = decoder.voice_index(voice)
        self._rows_ahead, self._hop = decoder.encoder.reach, decoder.grid.hop_length
        self._predictor = decoder.durations.in_double()
        self._ids = np.zeros((0, len(decoder.card.codebook_sizes)), np.int64)
        self._durations = np.zeros(0, np.int64)  # of the first rows
        self._exact_end = 0.0
        self._mel = torch.zeros(0)  # the last frames that are known
        self._num_mel_frames = 0  # known, from the start of the utterance
        self._num_samples = self._num_units = 0  # given out
        self._carry: Tensor | None = None  # (1, frames) of the last window, what the vocoder carries
        self._carry_from = 0  # frame with which it began
        self._ended = self._stopped = False

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""
        return self._decoder.sample_rate_hz

    def push(self, units: Units) -> Sound:
        """More units, and the samples that can be made now; often none.

        Raises:
            UserError: units that do not fit the codebooks.
        """
        assert not self._ended, "the utterance is over"
        self._decoder.check_units(units)
        self._ids = np.concatenate([self._ids, units.ids])
        return self._make()

    def finish(self) -> Sound:
        """The utterance is over: the samples that are left."""
        self._ended = True
        return self._make()

    def stop(self) -> None:
        """Make no further window: also from another thread, while one is made."""
        self._stopped = True

    @torch.inference_mode()
    def _make(self) -> Sound:
        """Compute window after window; where each ends does not depend on how units came together."""
        known = len(self._durations)
        self._predict_durations()
        if known == len(self._durations) and not self._ended:
            return Sound(np.zeros(0, np.float32), ())
        borders = np.concatenate([[0], np.cumsum(self._durations)])
        parts = [np.zeros(0, np.float32)]
        for num_rows in range(known + 1, len(self._durations) + 1):
            if self._stopped:
                break
            readable = self._decoder.grid.num_mel_frames_before(int(borders[max(0, num_rows - self._rows_ahead)]))
            if readable - self._decoder.mel_reach - self._num_mel_frames >= self._mel_frames_a_time:
                self._extend_mel(borders[: num_rows + 1], readable, readable - self._decoder.mel_reach)
                parts.append(self._sound(max(0, self._num_mel_frames - self._decoder.vocoder.reach) * self._hop))
        if self._ended and not self._stopped:
            num_frames = int(borders[-1])
            num_mel_frames = self._decoder.grid.num_mel_frames(num_frames)
            if num_mel_frames > self._num_mel_frames:
                self._extend_mel(borders, num_mel_frames, num_mel_frames)
            parts.append(self._sound(self._decoder.grid.num_samples(num_frames)))
        ends = self._decoder.grid.ends(self._durations)
        sounded = int(np.searchsorted(ends, self._num_samples, side="right"))
        found = tuple(int(end) for end in ends[self._num_units : sounded])
        self._num_units = sounded
        return Sound(np.concatenate(parts), found)

    def _predict_durations(self) -> None:
        known, merged = len(self._durations), self._ids.shape[1] == 1
        reach = self._predictor.reach if merged else 0
        stop = len(self._ids) - (0 if self._ended else reach)
        if stop - known < (1 if self._ended else _ROWS_A_TIME):
            return
        if not merged:
            self._durations = np.ones(stop, np.int64)
            return
        first = max(0, known - reach)
        ids = torch.from_numpy(self._ids[None, first:]).to(self._decoder.mel_mean.device)
        voices = torch.tensor([self._voice], device=ids.device)
        mask = torch.ones(1, ids.shape[1], 1, dtype=torch.float64, device=ids.device)
        logs = self._predictor(ids, voices, mask)[0, known - first : stop - first].cpu()
        found, self._exact_end = whole_frames(logs, self._decoder.grid.frame_rate_hz, self._exact_end)
        self._durations = np.concatenate([self._durations, found.numpy()])

    def _extend_mel(self, borders: NDArray[np.int64], readable: int, stop: int) -> None:
        """Compute the frames up to ``stop``, on a window of rows and frames.

        Args:
            borders: (rows + 1,) where the rows that are used begin and end, in unit frames.
            readable: frames at and after ``stop`` that are computed for the sake of those before.
        """
        decoder, grid, lasting = self._decoder, self._decoder.grid, np.diff(borders)
        first = max(0, self._num_mel_frames - decoder.mel_reach)
        row = min(int(grid.positions(first, 1, lasting)[0]), len(lasting) - 1)
        row = max(0, row - self._rows_ahead)
        units = Units(self._ids[row : len(lasting)], lasting[row:])
        places = grid.positions(first, readable - first, lasting[row:], int(borders[row]))
        mel = decoder.log_mel([units], [self._voice], places[None], [readable - first], [self._seed], first)[0]
        new = mel[self._num_mel_frames - first : stop - first]
        self._mel = torch.cat([self._mel.to(new), new]) if len(self._mel) else new
        self._num_mel_frames = stop

    def _sound(self, stop: int) -> NDArray[np.float32]:
        """The samples up to ``stop``, from known frames and what the vocoder reaches before and behind them."""
        if stop <= self._num_samples:
            return np.zeros(0, np.float32)
        vocoder = self._decoder.vocoder
        first = max(0, self._num_samples // self._hop - vocoder.reach)  # frame where the window begins
        window = self._last_frames(first)
        carried = None if first == 0 or self._carry is None else self._carry[:, first + vocoder.lead - self._carry_from]
        sounds, self._carry = vocoder(window[None], [len(window)], [self._seed], first, carried)
        self._carry_from = first
        new = sounds[0, self._num_samples - first * self._hop : stop - first * self._hop].clamp(-1, 1).float()
        self._num_samples = stop
        samples: NDArray[np.float32] = new.cpu().numpy().copy()
        return samples

    def _last_frames(self, first: int) -> Tensor:
        """The known frames from ``first`` on; those before are not needed again."""
        held_from = self._num_mel_frames - len(self._mel)
        self._mel = self._mel[first - held_from :].clone()
        return self._mel
