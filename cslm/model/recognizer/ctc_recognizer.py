"""A wav2vec 2.0 with a CTC head over the characters of the transcripts, from nothing."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from cslm.encoders.convolutions import frames_after
from cslm.model.recognizer.recognizer import SAMPLE_RATE_HZ, Recognizer, RecognizerBatch, check_languages, inner_weights
from cslm.model.recognizer.recognizer_config import CtcSizesConfig

_CONTROLS = ["<pad>", "<s>", "</s>", "<unk>", "|"]
_BLANK = 0


class CtcRecognizer(Recognizer):
    """CTC over characters; all norms are by frame, and padding is masked: a recording is learnt as it is alone."""

    def __init__(self, settings: CtcSizesConfig, texts: Iterable[str], languages: Sequence[str]) -> None:
        """Collect the characters and draw the weights, from torch's generator."""
        super().__init__()
        check_languages(languages)
        self.num_groups, self._settings = len(languages), settings
        characters = sorted({character for text in texts for character in text} - {" ", "|"})
        self._tokenizer = _tokenizer(characters)
        self._extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True)
        self.config = Wav2Vec2Config(
            vocab_size=len(self._tokenizer), hidden_size=settings.width, num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads, intermediate_size=settings.inner, conv_dim=(settings.width,) * 7,
            feat_extract_norm="layer", conv_bias=True, do_stable_layer_norm=True, hidden_dropout=settings.dropout,
            attention_dropout=settings.dropout, activation_dropout=settings.dropout, feat_proj_dropout=settings.dropout,
            final_dropout=settings.dropout, layerdrop=0.0, apply_spec_augment=False, pad_token_id=_BLANK,
        )  # fmt: skip
        self.model = Wav2Vec2ForCTC(self.config)
        self._strides = list(zip(self.config.conv_kernel, self.config.conv_stride, strict=True))

    def labels(self, text: str, language: str) -> npt.NDArray[np.int64]:
        """Its characters."""
        return np.array(self._tokenizer(text).input_ids, dtype=np.int64)

    def features(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Samples of mean 0 and variance 1, (samples,)."""
        found = self._extractor(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")["input_values"][0]
        return np.asarray(found, dtype=np.float32)

    def num_features(self, num_samples: int) -> int:
        """One a sample."""
        return num_samples

    def fault(self, num_samples: int, num_labels: int) -> str | None:
        """Longer than the window, or too short for its characters."""
        if num_samples > self._settings.window_sec * SAMPLE_RATE_HZ:
            return f"longer than recognizer.ctc.window_sec ({self._settings.window_sec} s)"
        if frames_after(num_samples, self._strides) < max(1, num_labels):
            return "it has fewer frames than its transcript has characters"
        return None

    def losses(self, batch: RecognizerBatch) -> tuple[Tensor, Tensor]:
        """See :class:`Recognizer`."""
        real = torch.arange(batch.features.shape[1], device=batch.features.device) < batch.feature_lengths[:, None]
        logits = self.model(batch.features, attention_mask=real.long()).logits.float()
        lengths = [frames_after(length, self._strides) for length in batch.feature_lengths.tolist()]
        frames = torch.tensor(lengths, device=logits.device).clamp(max=logits.shape[1])
        losses = ctc_loss(
            logits.log_softmax(dim=-1).transpose(0, 1), batch.labels, frames, batch.label_lengths, _BLANK,
            reduction="none", zero_infinity=True,
        )  # fmt: skip
        losses = torch.where(batch.label_lengths > 0, losses, 0 * losses)
        heard = [row[: int(count)].unique_consecutive() for row, count in zip(logits.argmax(-1), frames, strict=True)]
        right = [
            float(count) * torch.equal(row[row != _BLANK], labels[:count])
            for row, labels, count in zip(heard, batch.labels, batch.label_lengths.tolist(), strict=True)
        ]
        return losses, losses.new_tensor(right)

    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """See :class:`Recognizer`."""
        model = Wav2Vec2ForCTC(self.config)
        model.load_state_dict(inner_weights(weights), strict=True)
        model.save_pretrained(folder)
        Wav2Vec2Processor(self._extractor, self._tokenizer).save_pretrained(folder)


def _tokenizer(characters: Sequence[str]) -> Any:
    vocabulary = {token: index for index, token in enumerate([*_CONTROLS, *characters])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.json"
        path.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(str(path))
