"""Translation by a chat model: one question a sentence, a JSON object as answer, every reply kept and paid for once."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.chat import Asked, open_chat
from cslm.evaluation.strict_json import WantedKey, read_json
from cslm.files.cache_folder import cache_folder
from cslm.sequences.wordings import language_name
from cslm.synthesis.failure import Failure
from cslm.synthesis.translator_config import ChatTranslatorConfig

_OURS = Path(__file__).with_name("translation_prompt.yaml")
_SLOTS = {"text", "source", "target"}
_WANTED = {"translation": WantedKey("text")}


class ChatTranslator:
    """Asks a chat model. Replies are kept in the folder ``cache``, by default the user's cache."""

    def __init__(self, config: ChatTranslatorConfig) -> None:
        """Open the model; nothing is asked yet.

        Raises:
            UserError: the prompt or the model cannot be used.
        """
        self._prompt = _prompt(config.prompt)
        self._chat = open_chat(config, cache_folder("translations"))

    def facts(self, source: str, target: str) -> dict[str, Any]:
        """Model, parameters and prompt; any pair of languages is asked for."""
        return {
            "translator": "chat",
            **self._chat.model.identity,
            "prompt": self._prompt,
            "source": language_tag(source),
            "target": language_tag(target),
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | Failure]:
        """Ask for each text; what the model or the endpoint does not answer as wanted is a failure.

        Raises:
            UserError: the endpoint cannot be used at all; what was answered is kept.
        """
        names = {"source": language_name(source), "target": language_name(target)}
        asked = [[{"role": "user", "content": self._prompt.format(text=text, **names)}] for text in texts]
        return [_result(one) for one in self._chat.ask(asked, _translation, f"translate into {target}")]


def _translation(reply: str) -> str:
    return " ".join(str(read_json(reply, _WANTED)["translation"]).split())


def _result(asked: Asked[str]) -> str | Failure:
    if asked.failure is not None:
        return Failure(f"no translation: {asked.failure.kind}: {asked.failure.reason}")
    return asked.value or Failure("its translation is empty")


def _prompt(path: str | None) -> str:
    """The prompt of a file, or ours.

    Raises:
        UserError: no such file, or it has other slots than a prompt of translation.
    """
    if path is None:
        return str(yaml.safe_load(_OURS.read_text(encoding="utf-8"))["prompt"])
    if not Path(path).is_file():
        raise UserError(f"{path}: no such prompt; correct --translator.chat.prompt")
    prompt = Path(path).read_text(encoding="utf-8")
    try:
        slots = {name for _, name, _, _ in string.Formatter().parse(prompt) if name is not None}
    except ValueError as error:
        raise UserError(f"{path}: {error}; a brace that is no slot is written twice") from None
    if "text" not in slots or not slots <= _SLOTS:
        found = ", ".join(sorted(slots)) or "none"
        raise UserError(f"{path}: its slots are {found}; {{text}} is wanted, {{source}} and {{target}} are possible, "
                        "and a brace that is no slot is written twice")  # fmt: skip
    return prompt
