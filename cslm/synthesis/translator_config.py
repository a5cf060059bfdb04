"""What translators can be told: a section each, of which one is given."""

from __future__ import annotations

from dataclasses import dataclass

from cslm.errors import UserError
from cslm.evaluation.chat_config import ChatConfig
from cslm.ranges import Range, check_numbers


@dataclass
class TableTranslatorConfig:
    """Translations that are there already."""

    path: str
    """A table of pairs: a .tsv (or .csv) whose header names the languages, or JSON Lines whose keys are languages, or
    with source_language, target_language, source and target; gzipped or not."""


@dataclass
class Seq2SeqTranslatorConfig:
    """A translation model of transformers: Marian (OPUS-MT), NLLB, M2M-100, mBART-50, MADLAD-400."""

    model: str
    """A hub id or a folder; {source} and {target} stand for the languages: Helsinki-NLP/opus-mt-{source}-{target}."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    device: str = "auto"
    """Where it runs: auto, cpu, cuda."""
    dtype: str = "float32"
    """Numbers that it computes with: float32, bfloat16, float16."""
    batch_size: int = 16
    """Texts that are translated at once."""
    num_beams: int = 4
    """Beams of the search; 1 takes the likeliest token each time."""
    max_new_tokens: int = 256
    """A translation that does not end within so many tokens is a failure."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        one = Range(least=1)
        check_numbers(self, "translator.seq2seq", batch_size=one, num_beams=one, max_new_tokens=one)
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise UserError(f"translator.seq2seq.dtype is {self.dtype!r}: choose float32, bfloat16 or float16")


@dataclass
class ChatTranslatorConfig(ChatConfig):
    """A chat model, behind an endpoint that speaks OpenAI's protocol (extra ``endpoint``) or on this machine."""

    prompt: str | None = None
    """A file with what it is asked, in place of ours; {text}, {source} and {target} (names of languages in English) are
    filled in. It has to ask for a JSON object whose key translation holds the translation."""


@dataclass
class TranslatorConfig:
    """Which translator: the section of one of them."""

    table: TableTranslatorConfig | None = None
    """translations that are there already"""
    seq2seq: Seq2SeqTranslatorConfig | None = None
    """a translation model of transformers"""
    chat: ChatTranslatorConfig | None = None
    """a chat model, behind an endpoint or on this machine"""
