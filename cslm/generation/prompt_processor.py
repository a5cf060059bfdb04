"""What stands around a speech prompt: conversations with recordings to tensors, and replies to text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BatchFeature, PreTrainedTokenizerBase

from cslm.audio.waveform import load_waveform, resample
from cslm.corpora.languages import language_tag
from cslm.corpora.messages import ROLES
from cslm.errors import UserError
from cslm.generation.processor import Audio, checked_rate, mono_float
from cslm.sequences.audio_tasks import around_audio, hears, one_after_another
from cslm.sequences.conversations import writes
from cslm.sequences.hearing import Hearing
from cslm.sequences.sequence import Sequence as Document
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn

Conversation = Sequence[Mapping[str, Any]]
"""Messages ``{"role": ..., "content": ...}``, of text or of parts ``{"type": "text", "text": ...}`` and
``{"type": "audio", "audio": ...}``"""


@dataclass(frozen=True)
class GivenClip:
    """A waveform that is there."""

    waveform: NDArray[np.float32]

    def read(self) -> NDArray[np.float32]:
        """Its samples ``(num_samples,)``."""
        return self.waveform


class SpeechPromptProcessor:
    """Text tokenizer and chat template of a speech prompt, with places for recordings: ids are those of training."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, hearing: Hearing) -> None:
        self.tokenizer, self.hearing = tokenizer, hearing
        self.form = SequenceFormat(tokenizer).hearing_by(hearing)

    @property
    def sampling_rate(self) -> int:
        """Samples a second of ``input_features``, which are waveforms."""
        return self.hearing.sample_rate_hz

    def apply_chat_template(
        self,
        conversation: Conversation | Sequence[Conversation],
        add_generation_prompt: bool = True,
        language: str = "en",
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """One conversation or several as tensors.

        Args:
            conversation: parts of a message stand beside each other as they are; a recording is a path, a waveform and
                its rate, or a waveform alone.
            add_generation_prompt: whether a reply is to follow.
            language: BCP 47, of the conversation.
            sampling_rate: of waveforms alone.

        Returns:
            ``input_ids`` and ``attention_mask`` int64 (batch, time), padded on the left; where there are recordings
            ``input_features`` float32 (recordings, samples) and ``input_features_mask`` int64 alike, in the order in
            which they stand.

        Raises:
            UserError: a message without a known role or content, or a recording that cannot be heard.
        """
        if not conversation or not conversation[0]:
            raise UserError("conversation holds no message: give one, or a list of conversations with messages")
        several = not isinstance(conversation[0], Mapping)
        given: Any = conversation if several else [conversation]
        documents = [self.document(one, add_generation_prompt, language, sampling_rate) for one in given]
        longest = max(len(document) for document in documents)
        ids = torch.full((len(documents), longest), self.tokenizer.pad_token_id or 0)
        mask = torch.zeros_like(ids)
        for row, document in enumerate(documents):
            ids[row, longest - len(document) :] = torch.from_numpy(document.ids.astype(np.int64))
            mask[row, longest - len(document) :] = 1
        found = {"input_ids": ids, "attention_mask": mask}
        waveforms = [clip.clip.read() for document in documents for clip in document.clips]
        return BatchFeature({**found, **(padded(waveforms) if waveforms else {})})

    def document(
        self, conversation: Conversation, prompted: bool, language: str = "en", sampling_rate: int | None = None
    ) -> Document:
        """A conversation as training writes it; with ``prompted`` up to the content of the reply that follows."""
        tag = language_tag(language)
        turns = [self._turn(message, tag, sampling_rate) for message in conversation]
        return self.form.prompt("audio", turns) if prompted else self.form.conversation("audio", turns)

    def request(self, audio: Audio, instruction: str | None = None) -> list[dict[str, Any]]:
        """The conversation that asks for a reply to a recording, as the tasks ``audio_...`` of training write it."""
        before, after = around_audio(instruction)
        texts: list[dict[str, Any]] = [{"type": "text", "text": text} for text in (before, after)]
        parts = [texts[0], {"type": "audio", "audio": audio}, texts[1]]
        return [{"role": "user", "content": [part for part in parts if part.get("text", True)]}]

    def waveform(self, audio: Any, sampling_rate: int | None = None) -> NDArray[np.float32]:
        """A recording at the rate of the encoder.

        Raises:
            UserError: a file that cannot be read, or a waveform whose rate is not given, or that is not mono.
        """
        if isinstance(audio, str | os.PathLike):
            return load_waveform(audio, sample_rate_hz=self.sampling_rate)[0]
        samples, rate_hz = audio if isinstance(audio, tuple) else (audio, sampling_rate)
        if rate_hz is None:
            raise UserError("a waveform without its rate: give (waveform, rate), or sampling_rate")
        return resample(mono_float(np.asarray(samples)), checked_rate(rate_hz), self.sampling_rate)

    def batch_decode(self, ids: Any, skip_special_tokens: bool = True) -> list[str]:
        """Texts of ids (batch, time)."""
        texts: list[str] = self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens)
        return texts

    def _turn(self, message: Mapping[str, Any], language: str, sampling_rate: int | None) -> Turn:
        role, content = ROLES.get(message.get("role", "")), message.get("content")
        if role is None or not isinstance(content, str | list):
            raise UserError(
                f"a message has role {message.get('role')!r} and content of type {type(content).__name__}: give one of "
                f"{', '.join(ROLES)}, and text or a list of parts"
            )
        if isinstance(content, str):
            return Turn(role, language, writes(content))  # type: ignore[arg-type]
        parts = [self._part(part, language, sampling_rate) for part in content]
        return Turn(role, language, one_after_another(parts))  # type: ignore[arg-type]

    def _part(self, part: Mapping[str, Any], language: str, sampling_rate: int | None) -> Content:
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            return writes(part["text"])
        audio = next((part[name] for name in ("audio", "path", "url") if name in part), None)
        if kind == "audio" and audio is not None:
            waveform = self.waveform(audio, sampling_rate)
            return hears(self.form, GivenClip(waveform), len(waveform), language)
        raise UserError(f"a part of a message is {dict(part)!r}: give {{type: text, text}} or {{type: audio, audio}}")


def padded(waveforms: Sequence[NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    """Waveforms (recordings, samples) filled up with zeros, and where they are real."""
    longest = max(len(one) for one in waveforms)
    values, mask = torch.zeros(len(waveforms), longest), torch.zeros(len(waveforms), longest, dtype=torch.int64)
    for row, one in enumerate(waveforms):
        values[row, : len(one)] = torch.from_numpy(np.ascontiguousarray(one))
        mask[row, : len(one)] = 1
    return {"input_features": values, "input_features_mask": mask}
