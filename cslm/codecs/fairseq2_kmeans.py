"""``fairseq2_kmeans``: hidden states of a wav2vec 2.0 encoder of fairseq2, and the nearest of K centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cslm.codecs.ssl_kmeans import SslKMeans, SslKMeansParameters
from cslm.encoders.fairseq2_features import Fairseq2Features
from cslm.encoders.runtime import Runtime


@dataclass(frozen=True)
class Fairseq2KMeansParameters(SslKMeansParameters):
    """What to fit on: a checkpoint as ``model`` (a file or a URL), and its architecture."""

    architecture: Any = "xlsr2_1b_v2"
    """A name (``fairseq2_features.ARCHITECTURES``), or fields of fairseq2's ``Wav2Vec2EncoderConfig``."""


class Fairseq2KMeans(SslKMeans):
    """The codec; see ``SslKMeans``."""

    family = "fairseq2_kmeans"
    parameters_class = Fairseq2KMeansParameters

    @staticmethod
    def open_features(parameters: SslKMeansParameters, runtime: Runtime, where: str) -> Fairseq2Features:
        """The features of a card or of the parameters to fit with; waveforms are normalized unless these say no."""
        assert isinstance(parameters, Fairseq2KMeansParameters)
        normalize = parameters.normalize_waveform is not False
        return Fairseq2Features(parameters.model, parameters.architecture, parameters.layer, normalize, runtime, where)
