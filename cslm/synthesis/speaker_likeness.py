"""How alike two voices are: cosines of x-vectors by a speaker-verification model of transformers (WavLM and others)."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from cslm.audio.clip import Clip
from cslm.audio.waveform import resample
from cslm.synthesis.ready_models import model_digest, open_model, open_part

_WHERE = "speakers.verifier"


class SpeakerLikeness:
    """Makes one vector of all that a voice says."""

    def __init__(self, source: str, revision: str | None, device: str) -> None:
        """Open the model.

        Raises:
            UserError: it is not there, or has no x-vectors (WavLMForXVector, Wav2Vec2ForXVector, ...).
        """
        self._extractor = open_part(AutoFeatureExtractor, source, revision, _WHERE)
        self._model = open_model(AutoModelForAudioXVector, source, revision, device, "float32", _WHERE)

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the model's weights and configuration."""
        return model_digest(self._model)

    def vector(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """The mean of the x-vectors of several clips, each of length 1: ``(dims,)``, of length 1 too."""
        assert clips, "a voice that says nothing is like none"
        vectors = np.stack([self._of_clip(clip) for clip in clips])
        return _unit(vectors.mean(axis=0))

    def _of_clip(self, clip: Clip) -> NDArray[np.float32]:
        waveform, rate_hz = clip
        wanted_hz = self._extractor.sampling_rate
        inputs = self._extractor(resample(waveform, rate_hz, wanted_hz), sampling_rate=wanted_hz, return_tensors="pt")
        with torch.inference_mode():
            embedding = self._model(inputs["input_values"].to(self._model.device)).embeddings[0]
        return _unit(embedding.float().cpu().numpy())


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return scaled
