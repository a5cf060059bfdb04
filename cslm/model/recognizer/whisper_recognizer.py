"""A Whisper from nothing: byte-pair encoding of the transcripts, a control token a language, the model of transformers.

What it writes is a folder like any Whisper's: an encoder for speech prompts, a decoder that a Q-Former starts from, a
listener for the cascade.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, ctc_loss
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from cslm.encoders.whisper_features import encode
from cslm.errors import UserError
from cslm.model.recognizer.recognizer import SAMPLE_RATE_HZ, Recognizer, RecognizerBatch, check_languages, inner_weights
from cslm.model.recognizer.recognizer_config import WhisperSizesConfig
from tokenizers import ByteLevelBPETokenizer

_END, _START, _TRANSCRIBE, _NO_TIMES = "<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>"
_OTHERS = ("<|startoflm|>", "<|startofprev|>", "<|nospeech|>")
_TRANSLATE = "<|translate|>"
_IGNORED, _BLANK = -100, 0
_HOP, _STRIDE = 160, 2
"""samples of a frame of log-mel, and frames of one of the encoder"""


class WhisperRecognizer(Recognizer):
    """Cross-entropy of the controls and the ids of a transcript, and CTC of its characters on the encoder.

    A batch is as long as its longest recording; the others have silence behind them, as what fills a window has.
    """

    def __init__(self, settings: WhisperSizesConfig, texts: Sequence[str], languages: Sequence[str]) -> None:
        """Learn a tokenizer and draw the weights, from torch's generator.

        Raises:
            UserError: a language that no Whisper has a token for.
        """
        super().__init__()
        check_languages(languages)
        unknown = [language for language in languages if _spoken(language) not in LANGUAGES]
        if unknown:
            raise UserError(
                f"recognizer.whisper: Whisper has no token for {', '.join(unknown)}: train the family ctc, or leave "
                "the language out of the manifests"
            )
        self.num_groups, self._settings = len(languages), settings
        spoken = list(dict.fromkeys(_spoken(language) for language in languages))
        self._tokenizer = _tokenizer(texts, settings.vocab_size, spoken)
        self._extractor = WhisperFeatureExtractor(chunk_length=settings.window_sec)
        self.config = _config(settings, self._tokenizer)
        self.model = WhisperForConditionalGeneration(self.config)
        characters = sorted({character for text in texts for character in text.lower()})
        self._characters = {character: index for index, character in enumerate(characters, _BLANK + 1)}
        self.ctc = nn.Linear(settings.width, 1 + len(characters)) if settings.ctc_weight else None
        self._generation = _generation(self._tokenizer, spoken, settings.positions)

    def labels(self, text: str, language: str) -> npt.NDArray[np.int64]:
        """Controls behind the start, the ids of the text, the end."""
        names = (f"<|{_spoken(language)}|>", _TRANSCRIBE, _NO_TIMES)
        controls = [_id(self._tokenizer, name) for name in names]
        said = self._tokenizer(text, add_special_tokens=False).input_ids
        return np.array([*controls, *said, _id(self._tokenizer, _END)], dtype=np.int64)

    def features(self, waveform: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The log-mel spectrogram of the window, (frames, bands)."""
        found = self._extractor(waveform, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np")["input_features"][0]
        return np.ascontiguousarray(found.T, dtype=np.float32)

    def num_features(self, num_samples: int) -> int:
        """Frames of 10 ms, the last one begun."""
        return min(-(-num_samples // _HOP), self._settings.window_sec * SAMPLE_RATE_HZ // _HOP)

    def fault(self, num_samples: int, num_labels: int) -> str | None:
        """Longer than the window, or more ids than there are positions."""
        if num_samples > self._settings.window_sec * SAMPLE_RATE_HZ:
            return f"longer than recognizer.whisper.window_sec ({self._settings.window_sec} s)"
        if num_labels > self._settings.positions:
            return f"its transcript has more ids than recognizer.whisper.positions ({self._settings.positions})"
        return None

    def losses(self, batch: RecognizerBatch) -> tuple[Tensor, Tensor]:
        """See :class:`Recognizer`."""
        wanted = batch.labels
        heard = self._heard(batch)
        start = wanted.new_full((len(wanted), 1), self.config.decoder_start_token_id)
        read = torch.cat((start, wanted[:, :-1]), dim=1)
        real = torch.arange(wanted.shape[1], device=wanted.device) < batch.label_lengths[:, None]
        hidden = self.model.model.decoder(input_ids=read, encoder_hidden_states=heard, use_cache=False)[0]
        logits = self.model.proj_out(hidden).float()
        targets = torch.where(real, wanted, _IGNORED)
        losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="none")
        correct = (logits.argmax(dim=-1) == targets).sum(dim=1).float()
        written = losses.view_as(targets).sum(dim=1)
        weight = self._settings.ctc_weight
        losses = (1 - weight) * written + weight * self._aligned(heard, batch) if weight else written
        return losses, correct

    def _heard(self, batch: RecognizerBatch) -> Tensor:
        """(batch, frames, width), at the length of the longest recording: the others have silence behind them."""
        longest = int(batch.feature_lengths.max())
        mels = batch.features[:, : longest + longest % _STRIDE].transpose(1, 2)
        return encode(self.model.model.encoder, mels, mels.new_full((len(mels),), mels.shape[2], dtype=torch.int64))

    def _aligned(self, heard: Tensor, batch: RecognizerBatch) -> Tensor:
        """The CTC loss of each recording by character of its transcript, times its labels: (batch,)."""
        texts = [
            self._tokenizer.decode(labels[:count], skip_special_tokens=True)
            for labels, count in zip(batch.labels.tolist(), batch.label_lengths.tolist(), strict=True)
        ]
        spelt = [torch.tensor([self._characters[one] for one in text.lower()], dtype=torch.int64) for text in texts]
        lengths = torch.tensor([len(one) for one in spelt], device=heard.device)
        frames = (batch.feature_lengths + 1) // _STRIDE
        assert self.ctc is not None
        logits: Tensor = self.ctc(heard).float()
        losses = ctc_loss(
            logits.log_softmax(dim=-1).transpose(0, 1), pad_sequence(spelt, batch_first=True).to(heard.device), frames,
            lengths, _BLANK, reduction="none", zero_infinity=True,
        )  # fmt: skip
        return torch.where(lengths > 0, losses, 0 * losses) * batch.label_lengths / lengths.clamp(min=1)

    def save(self, weights: dict[str, Tensor], folder: Path) -> None:
        """See :class:`Recognizer`."""
        model = WhisperForConditionalGeneration(self.config)
        model.load_state_dict(inner_weights(weights), strict=False)
        model.tie_weights()
        model.generation_config = self._generation
        model.save_pretrained(folder)
        WhisperProcessor(self._extractor, self._tokenizer).save_pretrained(folder)


def _spoken(language: str) -> str:
    """The language without region or script, as Whisper names it."""
    return language.split("-")[0]


def _id(tokenizer: WhisperTokenizer, token: str) -> int:
    found: Any = tokenizer.convert_tokens_to_ids(token)
    return int(found)


def _tokenizer(texts: Iterable[str], vocab_size: int, languages: Sequence[str]) -> WhisperTokenizer:
    learnt = ByteLevelBPETokenizer()
    learnt.train_from_iterator(texts, vocab_size=vocab_size, min_frequency=2, show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = learnt.save_model(folder)
        tokenizer = WhisperTokenizer(vocabulary, merges)
    named = [f"<|{language}|>" for language in languages]
    controls = [_END, _START, *named, _TRANSLATE, _TRANSCRIBE, *_OTHERS, _NO_TIMES]
    tokenizer.add_special_tokens({"additional_special_tokens": controls})
    return tokenizer


def _config(settings: WhisperSizesConfig, tokenizer: WhisperTokenizer) -> WhisperConfig:
    end = _id(tokenizer, _END)
    return WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=80, d_model=settings.width, encoder_layers=settings.encoder_layers,
        decoder_layers=settings.decoder_layers, encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads, encoder_ffn_dim=settings.inner, decoder_ffn_dim=settings.inner,
        dropout=settings.dropout, max_source_positions=50 * settings.window_sec,
        max_target_positions=settings.positions, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=_id(tokenizer, _START), begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip


def _generation(tokenizer: WhisperTokenizer, languages: Sequence[str], positions: int) -> GenerationConfig:
    end = _id(tokenizer, _END)
    return GenerationConfig(
        decoder_start_token_id=_id(tokenizer, _START), eos_token_id=end, pad_token_id=end, bos_token_id=end,
        is_multilingual=True, max_length=positions, return_timestamps=False,
        lang_to_id={f"<|{language}|>": _id(tokenizer, f"<|{language}|>") for language in languages},
        task_to_id={"translate": _id(tokenizer, _TRANSLATE), "transcribe": _id(tokenizer, _TRANSCRIBE)},
        no_timestamps_token_id=_id(tokenizer, _NO_TIMES),
    )  # fmt: skip
