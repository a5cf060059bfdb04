"""What a judge is told, as files: one YAML file a prompt, with its scale and its words in several languages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.evaluation.strict_json import WantedKey
from cslm.ranges import Range

FALLBACK = "en"
RIGHT_OR_WRONG = "right_or_wrong"
JUDGED = ("question", "answer", "reference", "question_language", "answer_language")
"""What a prompt may stand on."""

_KEYS = {"scale", "languages"}
_ROLES = ("system", "user")


@dataclass(frozen=True)
class JudgePrompt:
    """The words of a prompt and the scale of its verdicts."""

    name: str
    scale: tuple[int, int] | None
    """the lowest and the highest score; None for right or wrong"""
    languages: Mapping[str, Mapping[str, str]]
    """by language what system and user say"""

    @property
    def wanted(self) -> dict[str, WantedKey]:
        """The keys of a verdict."""
        if self.scale is None:
            return {"reason": WantedKey("text"), "right": WantedKey("true or false")}
        return {"reason": WantedKey("text"), "score": WantedKey("whole number", Range(*self.scale))}

    @property
    def placeholders(self) -> tuple[str, ...]:
        """What it stands on, in any of its languages."""
        words = [text for roles in self.languages.values() for text in roles.values()]
        used = {name for text in words for name in Template(text).get_identifiers()}
        return tuple(name for name in JUDGED if name in used)

    def messages(self, judged: Mapping[str, str]) -> list[dict[str, str]]:
        """The conversation about one answer, in the answer's language where the prompt has it.

        Args:
            judged: each of :data:`JUDGED` that it stands on.
        """
        spelt = {name: json.dumps(text, ensure_ascii=False) for name, text in judged.items()}
        roles = self._in_language(judged.get("answer_language", FALLBACK))
        return [{"role": role, "content": Template(roles[role]).substitute(spelt)} for role in _ROLES if role in roles]

    def _in_language(self, language: str) -> Mapping[str, str]:
        tag = language_tag(language)
        found = next((name for name in (tag, tag.split("-")[0], FALLBACK) if name in self.languages), None)
        return self.languages[found or next(iter(self.languages))]


def load_judge_prompt(name: str) -> JudgePrompt:
    """A prompt that comes with the package, by its name, or one's own, by its path (``.yaml``).

    Raises:
        UserError: there is none, or the file is no prompt.
    """
    shipped = resources.files("cslm.evaluation") / "judge_prompts"
    names = sorted(file.name.removesuffix(".yaml") for file in shipped.iterdir() if file.name.endswith(".yaml"))
    if name in names:
        content = (shipped / f"{name}.yaml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        content = Path(name).read_text(encoding="utf-8")
    else:
        raise UserError(f"there is no judge prompt {name}: give the path of a YAML file, or one of {', '.join(names)}")
    try:
        return _prompt(name, yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise UserError(f"the judge prompt {name} is not YAML: {' '.join(str(error).split())}") from None


def _prompt(name: str, content: Any) -> JudgePrompt:
    where = f"the judge prompt {name}"
    if not isinstance(content, dict) or set(content) != _KEYS:
        raise UserError(f"{where} must hold the keys `scale` and `languages` and no other")
    languages = content["languages"]
    if not isinstance(languages, dict) or not languages:
        raise UserError(f"{where}: languages must hold the words by language")
    words = {language_tag(str(tag)): _roles(roles, f"{where}, {tag}") for tag, roles in languages.items()}
    return JudgePrompt(name, _scale(content["scale"], where), words)


def _scale(given: Any, where: str) -> tuple[int, int] | None:
    if given == RIGHT_OR_WRONG:
        return None
    whole = isinstance(given, Sequence) and all(isinstance(end, int) and not isinstance(end, bool) for end in given)
    if not whole or len(given) != 2 or given[0] >= given[1]:
        raise UserError(f"{where}: scale is {given!r}: give [lowest, highest] or {RIGHT_OR_WRONG}")
    return given[0], given[1]


def _roles(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict) or "user" not in given or not set(given) <= set(_ROLES):
        raise UserError(f"{where} must hold what the user says, `user`, and may hold `system`, and nothing else")
    for role, text in given.items():
        template = Template(text) if isinstance(text, str) else None
        if template is None or not template.is_valid():
            raise UserError(f"{where}: {role} is no text with placeholders as $answer (a dollar sign itself is $$)")
        unknown = [name for name in template.get_identifiers() if name not in JUDGED]
        if unknown:
            raise UserError(f"{where}: there is no placeholder ${unknown[0]}: choose of ${', $'.join(JUDGED)}")
    return dict(given)
