"""Translation models of transformers: Marian (OPUS-MT), NLLB, M2M-100, mBART-50, MADLAD-400.

How a model is told the languages is read from its vocabulary, where each family writes them in its own way.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.ready_models import model_digest, open_model, open_part
from cslm.synthesis.translator_config import Seq2SeqTranslatorConfig

_WHERE = "translator.seq2seq.model"

PREFIXED = (re.compile(r"^<2(?P<tag>[A-Za-z_-]+)>$"), re.compile(r"^>>(?P<tag>[A-Za-z_-]+)<<$"))
"""Tokens before the text that say the target: of MADLAD-400, and of Marian models into several languages."""
FORCED = (
    re.compile(r"^(?P<tag>[a-z]{3}_[A-Z][a-z]{3})$"),
    re.compile(r"^__(?P<tag>[a-z]{2,3})__$"),
    re.compile(r"^(?P<tag>[a-z]{2})_[A-Z]{2}$"),
)
"""Tokens that a translation begins with: of NLLB, M2M-100 and mBART-50."""


class Seq2SeqTranslator:
    """Translates by beam search; a model is opened when its pair of languages is asked for first."""

    def __init__(self, config: Seq2SeqTranslatorConfig) -> None:
        self._config = config
        self._opened: dict[str, _Model] = {}

    def facts(self, source: str, target: str) -> dict[str, Any]:
        """The model's weights and how it is searched.

        Raises:
            UserError: the model is not there, or does not translate between the two.
        """
        model = self._model(source, target)
        model.check(source, target)
        config = self._config
        return {
            "translator": "seq2seq",
            "model": model.digest,
            "dtype": config.dtype,
            "num_beams": config.num_beams,
            "max_new_tokens": config.max_new_tokens,
            "batch_size": config.batch_size,
            "source": language_tag(source),
            "target": language_tag(target),
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | Failure]:
        """Translate in batches of texts of about the same length.

        Raises:
            UserError: as :meth:`facts`.
        """
        model = self._model(source, target)
        model.check(source, target)
        return model.translate(texts, source, target)

    def _model(self, source: str, target: str) -> _Model:
        name = self._config.model.replace("{source}", language_tag(source)).replace("{target}", language_tag(target))
        if name not in self._opened:
            self._opened[name] = _Model(name, self._config)
        return self._opened[name]


class _Model:
    """One model with its tokenizer, and the tokens by which it is told languages."""

    def __init__(self, name: str, config: Seq2SeqTranslatorConfig) -> None:
        self._name, self._config = name, config
        self._tokenizer = open_part(AutoTokenizer, name, config.revision, _WHERE)
        self._model = open_model(AutoModelForSeq2SeqLM, name, config.revision, config.device, config.dtype, _WHERE)
        self._model.generation_config.forced_eos_token_id = None  # Marian's: what does not end would seem to
        vocabulary = {**self._tokenizer.get_vocab(), **getattr(self._tokenizer, "lang_token_to_id", {})}  # M2M-100's
        self._prefixes = _tokens_of_languages(vocabulary, PREFIXED, least=1)
        self._forced = {} if self._prefixes else _tokens_of_languages(vocabulary, FORCED, least=2)

    @functools.cached_property
    def digest(self) -> str:
        return model_digest(self._model)

    def check(self, source: str, target: str) -> None:
        """Make sure that it translates from ``source`` into ``target``, as far as it says what it can.

        Raises:
            UserError: it does not, or cannot be told.
        """
        known = self._prefixes or self._forced
        if known:
            wanted = [target] if self._prefixes else [source, target]
            for language in wanted:
                if language_tag(language) not in known:
                    some = ", ".join(sorted(known)[:20])
                    raise UserError(f"{_WHERE}: {self._name} does not know {language}; it knows {some}, ...")
            return
        if self._model.config.model_type != "marian":
            raise UserError(
                f"{_WHERE}: {self._name} ({self._model.config.model_type}) has no tokens for languages: take Marian, "
                "NLLB, M2M-100, mBART-50 or MADLAD-400"
            )
        said = self._tokenizer.init_kwargs
        for option, language in (("source_lang", source), ("target_lang", target)):
            if said.get(option) and not _same_language(str(said[option]), language):
                raise UserError(f"{_WHERE}: {self._name} has {option} {said[option]}, not {language}")

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | Failure]:
        tag = language_tag(target)
        asked = [f"{self._prefixes[tag]} {text}" if self._prefixes else text for text in texts]
        if self._forced:
            self._tokenizer.src_lang = self._code(self._forced[language_tag(source)])
        ids = [self._tokenizer(text)["input_ids"] for text in asked]
        results: dict[int, str | Failure] = {}
        most = self._most_tokens()
        for index, tokens in enumerate(ids):
            if len(tokens) > most:
                results[index] = Failure(f"is too long for the translator: {len(tokens)} tokens, it takes {most}")
        left = sorted((index for index in range(len(texts)) if index not in results), key=lambda i: (len(ids[i]), i))
        size = self._config.batch_size
        for start in range(0, len(left), size):
            batch = left[start : start + size]
            found = self._generate([asked[index] for index in batch], self._forced.get(tag))
            results.update(zip(batch, found, strict=True))
        return [results[index] for index in range(len(texts))]

    def _generate(self, texts: list[str], forced: str | None) -> list[str | Failure]:
        inputs = self._tokenizer(texts, return_tensors="pt", padding=True).to(self._model.device)
        begins = {} if forced is None else {"forced_bos_token_id": self._tokenizer.convert_tokens_to_ids(forced)}
        with torch.inference_mode():
            rows = self._model.generate(
                **inputs,
                num_beams=self._config.num_beams,
                do_sample=False,
                max_new_tokens=self._config.max_new_tokens,
                **begins,
            )
        return [self._text_of(row) for row in rows.tolist()]

    def _text_of(self, row: list[int]) -> str | Failure:
        """The text of generated ids, the first of which only starts the decoder."""
        if self._tokenizer.eos_token_id not in row[1:]:
            return Failure(f"its translation does not end within {self._config.max_new_tokens} tokens")
        text: str = self._tokenizer.decode(row, skip_special_tokens=True).strip()
        return text or Failure("its translation is empty")

    def _most_tokens(self) -> int:
        positions = getattr(self._model.config, "max_position_embeddings", None)
        said = int(min(self._tokenizer.model_max_length, 1_000_000_000))
        return min(said, positions) if isinstance(positions, int) else said

    def _code(self, token: str) -> str:
        """What a tokenizer's ``src_lang`` is told: the token, or what stands in it (M2M-100)."""
        match = FORCED[1].match(token)
        return match["tag"] if match else token


def _tokens_of_languages(vocabulary: dict[str, int], patterns: Sequence[re.Pattern[str]], least: int) -> dict[str, str]:
    """Language tag to the token of it, by the first pattern that so many tokens of a vocabulary fit at least."""
    for pattern in patterns:
        found: dict[str, str] = {}
        for token in sorted(vocabulary, key=lambda token: (len(token), token)):
            match = pattern.match(token)
            if match and (tag := _tag(match["tag"])) is not None:
                found.setdefault(tag, token)
        if len(found) >= least:
            return found
    return {}


def _tag(said: str) -> str | None:
    try:
        return language_tag(said.replace("_", "-"))
    except UserError:
        return None


def _same_language(said: str, language: str) -> bool:
    """Whether a model's word for a language (eng, en, en_GB) means ``language``; words that are no tags may."""
    tag = _tag(said)
    return tag is None or tag.split("-")[0] == language_tag(language).split("-")[0]
