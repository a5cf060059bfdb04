"""Everything around the language model: audio to units, tasks to prompts, replies to text, units and a waveform."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from cslm.audio.waveform import load_waveform, resample
from cslm.codecs.card import copy_card
from cslm.codecs.codec import UnitCodec
from cslm.codecs.families import load_codec
from cslm.codecs.fingerprint import UNKNOWN, check_fingerprint
from cslm.codecs.units import Units
from cslm.corpora.languages import language_tag
from cslm.decoder.speech_decoder import CONFIG_FILE, SpeechDecoder
from cslm.errors import UserError
from cslm.model.backbone import load_text_tokenizer
from cslm.model.checkpoint import CARD_FILE, DECODER_FOLDER, SPEECH_FOLDER, read_speech_section
from cslm.ranges import Range
from cslm.sequences.chain_of_modality import ParsedReply, parse_reply
from cslm.sequences.chains import chain_of
from cslm.sequences.prompts import PastTurn, conversation_prompt, prompt_for
from cslm.sequences.sequence import as_written
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import save_text_tokenizer
from cslm.sequences.vocabulary import SpeechVocabulary

DEFAULT_LANGUAGES = ("en", "zh")

Audio = str | os.PathLike[str] | tuple[NDArray[Any], int]
"""A path, or a mono waveform ``(num_samples,)`` (floats in [-1, 1], or int16) and its sample rate in Hz."""


class CSLMProcessor:
    """Text tokenizer, speech tokenizer and speech decoder of a checkpoint, under one roof.

    The speech tokenizer and the decoder may be missing (a checkpoint made by others): what needs them then says so.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        codec: UnitCodec | None = None,
        decoder: SpeechDecoder | None = None,
        fingerprint: str = UNKNOWN,
        card_path: Path | None = None,
        name: str = "the checkpoint",
        order: str = "interleaved",
    ) -> None:
        """Put the parts together.

        Args:
            fingerprint: the speech tokenizer that the language model learnt with.
            card_path: where the codec was opened, for :meth:`save_pretrained`.
            name: what messages call the checkpoint.
            order: the chain of modality that the model answers in.

        Raises:
            UserError: no such chain, a codec for a tokenizer without units, or parts of different speech tokenizers.
        """
        self.tokenizer, self.codec, self.decoder = tokenizer, codec, decoder
        self.fingerprint, self.card_path, self.name = fingerprint, card_path, name
        self.form = SequenceFormat(tokenizer)
        self.order, self.chain = order, chain_of(order)
        if codec is not None:
            check_fingerprint(fingerprint, codec.fingerprint, name, f"the card {card_path or codec.name}")
            if tuple(codec.codebook_sizes) != self.vocabulary.codebook_sizes:
                raise UserError(
                    f"the card {card_path or codec.name} has codebooks {list(codec.codebook_sizes)}, {name} has "
                    f"{list(self.vocabulary.codebook_sizes)}: name the card that it was trained with"
                )
        if decoder is not None:
            known, where = (codec.fingerprint, "the card") if codec is not None else (fingerprint, name)
            check_fingerprint(known, decoder.fingerprint, where, "the speech decoder")

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        tokenizer_card: str | os.PathLike[str] | None = None,
        decoder: str | os.PathLike[str] | None = None,
    ) -> CSLMProcessor:
        """Open what a checkpoint folder holds, the authors' release layout included.

        Args:
            path: a checkpoint folder.
            tokenizer_card: card of the speech tokenizer, path or name (default: ``speech/card.yaml`` of the folder).
            decoder: folder of a speech decoder (default: ``speech/decoder`` of the folder).

        Raises:
            UserError: a part that cannot be read, or parts that do not belong together.
        """
        speech = Path(path) / SPEECH_FOLDER
        if tokenizer_card is None and (speech / CARD_FILE).is_file():
            tokenizer_card = speech / CARD_FILE
        if decoder is None and (speech / DECODER_FOLDER / CONFIG_FILE).is_file():
            decoder = speech / DECODER_FOLDER
        section = read_speech_section(path) or {}
        return cls(
            load_text_tokenizer(str(path)),
            load_codec(tokenizer_card) if tokenizer_card is not None else None,
            SpeechDecoder.from_pretrained(decoder) if decoder is not None else None,
            str(section.get("fingerprint", UNKNOWN)),
            Path(tokenizer_card) if tokenizer_card is not None else None,
            str(path),
            str(section.get("order", "interleaved")),
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the text tokenizer, and card and decoder into ``speech/``, beside the model's own files."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_text_tokenizer(self.tokenizer, target)
        if self.card_path is not None and self.card_path != target / SPEECH_FOLDER / CARD_FILE:
            copy_card(self.card_path, target / SPEECH_FOLDER)
        if self.decoder is not None:
            self.decoder.save_pretrained(target / SPEECH_FOLDER / DECODER_FOLDER)

    @property
    def vocabulary(self) -> SpeechVocabulary:
        """Where units and markers stand.

        Raises:
            UserError: the model has no units.
        """
        if self.form.vocabulary is None:
            raise UserError(
                f"{self.name} has no units in its vocabulary, a model of text alone: pre-train it on speech"
            )
        return self.form.vocabulary

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages a question is taken to be in: the voices of the decoder, or English and Chinese."""
        return self.decoder.voices if self.decoder is not None else DEFAULT_LANGUAGES

    @property
    def speaks(self) -> bool:
        """Whether answers are heard: the chain has speech, and there is a decoder."""
        return self.decoder is not None and self.chain.speaks

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that end a reply, or what a textless model says."""
        return self.form.end_ids

    @property
    def pad_id(self) -> int:
        """What fills the rows of a batch; masked everywhere."""
        return self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end_ids[0]

    def nameless_ids(self, num_rows: int) -> list[int]:
        """Rows of a head of ``num_rows`` rows that name nothing."""
        named = set(self.tokenizer.get_vocab().values())
        return [row for row in range(num_rows) if row not in named]

    def units(self, audio: Audio) -> Units:
        """The units of a recording as the language model reads them: repeats merged, or a row each frame.

        Raises:
            UserError: no card, a file that is missing or cannot be read, or a recording too short to hold a unit.
        """
        return self.units_batch([audio])[0]

    def units_batch(self, audios: Sequence[Audio]) -> list[Units]:
        """:meth:`units` of several recordings."""
        codec, vocabulary = self.speech_tokenizer(), self.vocabulary
        found = codec.encode([self._waveform(audio, codec) for audio in audios])
        return [as_written(units, vocabulary) for units in found]

    def opening(self, units: Units) -> NDArray[np.int32]:
        """The ids ``(num_ids,)`` with which a document of these units begins, for what a textless model says next."""
        return self.form.opening("continuation", "", lambda builder: builder.add_units(units)).ids

    def prompt(
        self,
        task: str,
        language: str,
        units: Units | None = None,
        text: str | None = None,
        answer_language: str | None = None,
    ) -> NDArray[np.int32]:
        """The ids ``(num_ids,)`` of a request and the header of its reply, as training wrote them."""
        return prompt_for(self.form, task, language=language, units=units, text=text, answer_language=answer_language)

    def question_prompt(
        self, question: Units, question_language: str, answer_language: str, past: Sequence[PastTurn] = ()
    ) -> NDArray[np.int32]:
        """The ids ``(num_ids,)`` of a spoken question, after the turns before it, and the header of its answer."""
        return conversation_prompt(self.form, self.order, past, question, question_language, answer_language)

    def __call__(
        self,
        audio: Audio | None = None,
        text: str | None = None,
        task: str = "dialogue",
        language: str = "en",
        answer_language: str | None = None,
    ) -> dict[str, torch.Tensor]:
        """``input_ids`` and ``attention_mask`` ``(1, time)`` of one prompt, for ``model.generate(**inputs)``.

        For a textless model: of the recording alone.
        """
        units = self.units(audio) if audio is not None else None
        if self.form.is_textless and units is not None and text is None:
            prompt = self.opening(units)
        else:
            prompt = self.prompt(task, language, units, text, answer_language)
        input_ids = torch.from_numpy(prompt.astype(np.int64))[None]
        return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}

    def decode(self, ids: Sequence[int] | NDArray[Any], order: str | None = None) -> ParsedReply:
        """A generated reply taken apart: transcript of the question, answer, segments of text and units.

        Args:
            order: the chain that it is written in (default: the checkpoint's), see
                :func:`~cslm.sequences.chain_of_modality.parse_reply`.
        """
        return parse_reply(self.form, ids, order or self.order)

    def speak(self, segments: Sequence[Units], language: str, generator: torch.Generator | None = None) -> list[Any]:
        """Waveforms float32 ``(num_samples,)`` of stretches of units in the voice of a language.

        Raises:
            UserError: no decoder, or none that speaks the language.
        """
        decoder = self.speech_decoder()
        return decoder.decode_batch(segments, [self.voice(language)] * len(segments), generator)

    def voice(self, language: str) -> str:
        """The decoder's voice for a language: of that very name, of that tag, or of its primary subtag.

        Raises:
            UserError: there is none.
        """
        voices = self.speech_decoder().voices
        if language in voices:
            return language
        try:
            tag = language_tag(language)
        except UserError:
            message = f"{language!r} is no voice of the speech decoder, nor a language: give one of {', '.join(voices)}"
            raise UserError(message) from None
        named = {language_tag(voice): voice for voice in voices}
        for name in (tag, tag.split("-")[0]):
            if name in named:
                return named[name]
        raise UserError(f"the speech decoder has no voice for the language {language!r}, only {', '.join(voices)}")

    def speech_decoder(self) -> SpeechDecoder:
        """The decoder.

        Raises:
            UserError: the checkpoint brings none.
        """
        if self.decoder is None:
            raise UserError(
                f"{self.name} has no speech decoder (speech/{DECODER_FOLDER}): train one (recipes/train_decoder.py) "
                "and give its folder as decoder"
            )
        return self.decoder

    def speech_tokenizer(self) -> UnitCodec:
        """The speech tokenizer.

        Raises:
            UserError: the checkpoint brings none.
        """
        if self.codec is None:
            raise UserError(
                f"{self.name} does not bring its speech tokenizer (speech/{CARD_FILE}): give its card as tokenizer_card"
            )
        return self.codec

    def _waveform(self, audio: Audio, codec: UnitCodec) -> NDArray[np.float32]:
        if isinstance(audio, tuple):
            name = "the waveform"
            waveform = resample(mono_float(audio[0]), checked_rate(audio[1]), codec.sample_rate_hz)
        else:
            name = os.fspath(audio)
            waveform, _ = load_waveform(audio, sample_rate_hz=codec.sample_rate_hz)
        if len(waveform) < codec.min_num_samples:
            raise UserError(
                f"{name} is too short to hold speech ({len(waveform) / codec.sample_rate_hz:.3f} s): record it again"
            )
        return waveform


_RATES_HZ = Range(least=1000, most=768_000)  # beyond them the resampler makes gigabytes, or never ends


def checked_rate(sample_rate_hz: Any) -> float:
    """A sample rate in Hz that sound can have.

    Raises:
        UserError: anything else.
    """
    is_number = isinstance(sample_rate_hz, int | float | np.number)
    if not is_number or float(sample_rate_hz) not in _RATES_HZ:
        raise UserError(f"the sample rate is {sample_rate_hz!r}: give that of the samples in Hz, {_RATES_HZ}")
    return float(sample_rate_hz)


def mono_float(waveform: NDArray[Any]) -> NDArray[np.float32]:
    """Mono samples ``(num_samples,)`` as float32; int16 counts from full scale.

    Raises:
        UserError: several channels, none, or samples that are not numbers.
    """
    if waveform.ndim != 1 or len(waveform) == 0:
        raise UserError(f"the waveform has shape {tuple(waveform.shape)}: give mono samples (num_samples,)")
    scale = 32768.0 if waveform.dtype == np.int16 else 1.0
    samples = np.asarray(waveform, dtype=np.float32) / np.float32(scale)
    if not np.isfinite(samples).all():
        raise UserError("the waveform holds samples that are not numbers (NaN or infinite): record it again")
    return samples
