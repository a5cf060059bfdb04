"""A language model that hears by a connector, opened from the checkpoint of its trained part or from a whole folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria, StoppingCriteriaList

from cslm.batches.packed_row import Clips
from cslm.corpora.languages import language_tag
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig, within_context
from cslm.generation.processor import Audio
from cslm.generation.prompt_processor import SpeechPromptProcessor
from cslm.model.backbone import DTYPES
from cslm.model.checkpoint import prepare_generation
from cslm.model.extension import num_embeddings
from cslm.model.local_folder import local_folder
from cslm.model.speech_prompt.connector import Connected
from cslm.model.speech_prompt.prompt_checkpoint import is_whole, open_prompt, save_prompt
from cslm.model.speech_prompt.prompt_parts import PromptParts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import trained_names


@dataclass(frozen=True)
class WrittenReply:
    """The reply to a recording, in text."""

    answer: str
    ids: list[int]
    """as the model wrote them, with what ended them"""
    is_whole: bool
    """whether the model ended it; False where it was cut, by ``max_new_tokens`` or the end of the model's context"""


class SpeechPromptModel(nn.Module):
    """Frozen encoder, connector and frozen language model, with a processor, ``generate`` and :meth:`respond`."""

    def __init__(self, parts: PromptParts, settings: PromptSettings, whole: bool) -> None:
        super().__init__()
        self.prompt = parts.prompt
        self.processor = SpeechPromptProcessor(parts.tokenizer, parts.hearing)
        self.is_whole = whole
        """whether it was opened from a folder that holds the frozen parts too, or from its trained part alone"""
        self._hashes, self._settings = parts.hashes, settings
        llm = self.prompt.llm
        prepare_generation(llm, parts.tokenizer, self.processor.form.chat.end_of_turn_ids[-1])
        generation: Any = llm.generation_config
        placeholder = self.processor.hearing.placeholder_id
        if placeholder < num_embeddings(llm):
            generation.suppress_tokens = sorted({*(generation.suppress_tokens or ()), placeholder})

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        llm: str | None = None,
        encoder: str | None = None,
        dtype: str | torch.dtype | None = None,
        attn_implementation: str | None = None,
        device: str = "cpu",
        revision: str | None = None,
        **others: Any,
    ) -> SpeechPromptModel:
        """Open a checkpoint of ``train-prompt``, or a folder that ``merge`` wrote.

        Args:
            path: its folder, or its id on the Hub.
            llm: folder or Hub id of the language model, if it lies elsewhere now.
            encoder: the same of the encoder.
            dtype: of the language model: float32 or bfloat16; ``auto`` and None are that of the training.
            attn_implementation: of the language model.
            device: where all of it runs: cpu, cuda, cuda:1; auto is the first accelerator, else the CPU.
            revision: of the model on the Hub; None is its newest.
            others: nothing: options of other models are refused by name.

        Raises:
            UserError: a folder that is not whole, frozen parts that it was not trained with, or an option that it does
                not read.
        """
        if others:
            raise UserError(
                f"{', '.join(others)}: a checkpoint of train-prompt is not opened with this; it takes llm, encoder, "
                "dtype, attn_implementation, device and revision"
            )
        folder = local_folder(path, revision)
        runtime = make_runtime(device, BATCH_SEC)
        parts, settings = open_prompt(folder, runtime, llm, encoder, _type_name(dtype), attn_implementation)
        model = cls(parts, settings, is_whole(folder)).eval()
        return model.to(runtime.device)

    @property
    def told(self) -> str:
        """What was opened, in words."""
        what = "a whole folder" if self.is_whole else "the trained part alone"
        return f"{what}, before the language model {self._settings.llm}"

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.prompt.llm.device

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the trained part, and what names the frozen ones."""
        state = self.prompt.state_dict()
        weights = {name: state[name].cpu() for name in trained_names(self.prompt)}
        save_prompt(self._settings, self.processor.tokenizer, self._hashes, weights, Path(folder))

    def get_audio_features(
        self,
        input_features: Tensor,
        input_features_mask: Tensor | None = None,
        languages: Sequence[str] | None = None,
    ) -> Connected:
        """The vectors of recordings: waveforms (recordings, samples), as the processor gives them.

        Args:
            languages: see :meth:`generate`.

        Raises:
            UserError: a connector that is told the languages, and they are not given.
        """
        return self.prompt.connect(_clips(input_features, input_features_mask, self.device, languages))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        languages: Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """What the language model makes of conversations with recordings; arguments as of :meth:`generate`."""
        embeddings, mask = self._inputs(input_ids, attention_mask, input_features, input_features_mask, languages)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        llm: Any = self.prompt.llm
        return llm(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, **options)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        languages: Sequence[str] | None = None,
        **options: Any,
    ) -> Tensor:
        """Ids (batch, time + new): those that were given, and the replies.

        Args:
            input_ids: int64 (batch, time), padded on the left.
            attention_mask: int64 (batch, time).
            input_features: waveforms (recordings, samples), in the order of their places.
            input_features_mask: int64 (recordings, samples).
            languages: BCP 47, what is spoken in each recording; only a connector that is told it reads it.
            options: as for ``generate`` of any model of transformers.

        Raises:
            UserError: places and recordings that do not belong together, or a connector that is told the languages, and
                they are not given.
        """
        embeddings, mask = self._inputs(input_ids, attention_mask, input_features, input_features_mask, languages)
        llm: Any = self.prompt.llm
        found: Tensor = llm.generate(inputs_embeds=embeddings, attention_mask=mask, **options)
        return torch.cat((input_ids.to(found.device), found), dim=1)

    def replies(
        self, inputs: Mapping[str, Tensor], wanted: int, languages: Sequence[str] | None = None, **options: Any
    ) -> list[list[int]]:
        """The reply to each prompt, whatever shares its batch: ``wanted`` ids at most, or the rest of the context.

        Args:
            inputs: as the processor makes them.
            languages: see :meth:`generate`.
            options: as of :meth:`generate`, but for lengths.

        Raises:
            UserError: a prompt fills the context.
        """
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        rooms = [within_context(self.prompt.llm, wanted, int(length)) for length in lengths]
        criteria = StoppingCriteriaList([_EndOfRoom(rooms)])
        ids = self.generate(
            **inputs, languages=languages, max_new_tokens=max(rooms), stopping_criteria=criteria, **options
        )
        written = ids[:, inputs["input_ids"].shape[1] :].tolist()
        return [row[:room] for row, room in zip(written, rooms, strict=True)]

    def respond(
        self,
        audio: Audio,
        instruction: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        question_language: str | None = None,
    ) -> WrittenReply:
        """Reply to a recording in text.

        Args:
            audio: a path, or a mono waveform and its sample rate in Hz.
            instruction: what is asked of it; ``{audio}`` in it is where the recording stands, else it comes last.
            decoding: greedy by default.
            generator: for decoding that draws.
            question_language: BCP 47, what is spoken: for a connector that is told it, and for no other.

        Raises:
            UserError: a recording that is missing, corrupt, empty or too long, for the encoder or for the context of
                the language model, or a language that is wanted and not given, or given and not read.
        """
        return self.respond_batch([audio], instruction, decoding, generator, question_language)[0]

    def respond_batch(
        self,
        audios: Sequence[Audio],
        instruction: str | None = None,
        decoding: DecodingConfig | None = None,
        generator: torch.Generator | None = None,
        question_language: str | None = None,
    ) -> list[WrittenReply]:
        """:meth:`respond` to several recordings in one language, ``decoding.batch_size`` together."""
        if question_language is not None and not self.prompt.connector.is_told_languages:
            raise UserError("question_language is given, and this connector does not read it: leave it out")
        known = self.processor.hearing.languages
        if question_language is not None and language_tag(question_language) not in known:
            raise UserError(f"question_language is {question_language}: this model knows {', '.join(known)}")
        settings = decoding or DecodingConfig()
        replies: list[WrittenReply] = []
        for start in range(0, len(audios), settings.batch_size):
            conversations = [
                self.processor.request(it, instruction) for it in audios[start : start + settings.batch_size]
            ]
            inputs = self.processor.apply_chat_template(conversations)
            languages = None if question_language is None else [question_language] * len(conversations)
            with torch.random.fork_rng():
                if settings.draws:
                    torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
                written = self.replies(inputs, settings.max_new_tokens, languages, **_options(settings))
            replies += [self._reply(row) for row in written]
        return replies

    def _reply(self, ids: list[int]) -> WrittenReply:
        generation: Any = self.prompt.llm.generation_config
        eos = generation.eos_token_id
        ends = {*(eos if isinstance(eos, list) else [eos])}
        stop = next((place for place, it in enumerate(ids) if it in ends), None)
        written = ids if stop is None else ids[: stop + 1]
        text = str(self.processor.tokenizer.decode(written, skip_special_tokens=True))
        return WrittenReply(text.strip(), written, stop is not None)

    def _inputs(
        self,
        ids: Tensor,
        mask: Tensor | None,
        features: Tensor | None,
        features_mask: Tensor | None,
        languages: Sequence[str] | None,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (batch, time, width), and the mask (batch, time)."""
        ids = ids.to(self.device)
        found = torch.ones_like(ids) if mask is None else mask.to(self.device)
        if features is None:
            if bool((ids == self.processor.hearing.placeholder_id).any()):
                raise UserError("input_ids have places for recordings, and there are no input_features: give both")
            embedded: Tensor = self.prompt.llm.get_input_embeddings()(ids)
            return embedded, found
        clips = _clips(features, features_mask, self.device, languages)
        connected = self.prompt.connect(clips)
        placed = self._placed(ids.flatten(), clips, connected.lengths)
        flat = self.prompt.embeddings(ids.reshape(1, -1), placed, connected)
        return flat.view(*ids.shape, -1), found

    def _placed(self, ids: Tensor, clips: Clips, lengths: Tensor) -> Clips:
        """The clips with the places (clips, 2) that stand in ids ``(batch * time,)`` for them, in their order."""
        places = torch.nonzero(ids == self.processor.hearing.placeholder_id).flatten()
        ends = lengths.cumsum(0)
        if len(places) != int(ends[-1]):
            raise UserError(
                f"input_ids have {len(places)} places, and {len(lengths)} recordings take {int(ends[-1])}: give what "
                "one call of the processor has made"
            )
        starts = places[ends - lengths]
        spans = torch.stack((starts, starts + lengths), dim=1)
        if not torch.equal(places[ends - 1] + 1, spans[:, 1]):
            raise UserError("the places of a recording in input_ids do not stand together: use the processor")
        return Clips(clips.values, clips.lengths, spans, clips.languages, clips.owners, clips.firsts)


def _type_name(dtype: str | torch.dtype | None) -> str | None:
    """The name of a type of weights, as ``model.dtype`` has it; None is that of the training."""
    name = None if dtype is None else str(dtype).removeprefix("torch.")
    if name in (None, "auto"):
        return None
    if name not in DTYPES:
        raise UserError(f"dtype is {dtype}: choose one of {', '.join(DTYPES)}, or auto")
    return name


def _clips(values: Tensor, mask: Tensor | None, device: torch.device, languages: Sequence[str] | None) -> Clips:
    """Waveforms (recordings, samples) as clips that stand nowhere yet; "" is a language that is not known."""
    count = len(values)
    spoken = ("",) * count if languages is None else tuple(language_tag(language) for language in languages)
    if len(spoken) != count:
        raise UserError(f"languages are {len(spoken)}, and there are {count} recordings: give one for each")
    lengths = torch.full((count,), values.shape[1]) if mask is None else mask.sum(dim=1)
    numbers = torch.arange(count, device=device)
    places = torch.zeros(count, 2, dtype=torch.int64, device=device)
    return Clips(values.to(device), lengths.to(device), places, spoken, numbers, torch.zeros_like(numbers))


class _EndOfRoom(StoppingCriteria):
    """Ends each reply where the context of its own prompt does."""

    def __init__(self, rooms: Sequence[int]) -> None:
        self._rooms = torch.tensor(rooms)

    def __call__(self, input_ids: Any, scores: Any, **others: Any) -> Any:
        """(batch,) whether so many tokens are written."""
        return (self._rooms <= input_ids.shape[1]).to(input_ids.device)


def _options(settings: DecodingConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"do_sample": settings.draws}
    if settings.draws:
        found |= {"temperature": settings.temperature, "top_p": settings.top_p}
    return found
