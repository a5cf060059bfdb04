"""Tasks over transcripts, as data: what a language model is asked to do with a text, in many wordings.

The pool of the package is ``task_pool.yaml``; a user may give another of its form. Some wordings, and whole tasks, are
marked as held out: speech is never trained on them, and the benchmark of prompt and task generalization asks for them.
(The language model has learnt all of them in text.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple

import yaml

from cslm.codecs.fingerprint import canonical_json
from cslm.corpora.languages import language_tag
from cslm.errors import UserError

FALLBACK = "en"
NO_TASK = "none"
"""the name of no instruction at all: the transcript is the whole prompt"""
SEEN = "seen"
CELLS = {
    SEEN: (False, False),
    "unseen_wordings": (True, False),
    "unseen_tasks": (False, True),
    "unseen_both": (True, True),
}
"""The grid of prompt and task generalization: whether the wording, and whether the task, is held out from training."""
_TASK_KEYS = ("wordings", "held_out", "transcribes", "targets")
_PARTS = ("seen", "unseen")


class Asked(NamedTuple):
    """What stands before and after the input in a prompt."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One way to ask for one task."""

    task: str
    wording: int
    """its number among those of the task in a language: the seen ones first, then the unseen ones"""
    target: str | None = None
    """tag of the language to translate into, of a task with targets"""


@dataclass(frozen=True)
class PooledTask:
    """A task of a pool."""

    name: str
    seen: Mapping[str, tuple[str, ...]]
    """wordings by language"""
    unseen: Mapping[str, tuple[str, ...]]
    held_out: bool = False
    """whether speech is never trained on the task"""
    transcribes: bool = False
    """whether its answer is the transcript: what is weighed down, since it hurts instruction following"""
    targets: Mapping[str, str] | None = None
    """names of the languages to translate into, by tag"""

    def num_wordings(self, language: str) -> tuple[int, int]:
        """How many wordings are seen, and how many unseen, in the language that a text is asked about in."""
        block = self._block(language)
        return len(self.seen[block]), len(self.unseen[block])

    def is_unseen(self, prompt: Prompt, language: str) -> bool:
        """Whether a wording is one that speech is never trained on."""
        return prompt.wording >= self.num_wordings(language)[0]

    def asked(self, prompt: Prompt, language: str) -> Asked:
        """The words of a prompt around a text in ``language``."""
        block = self._block(language)
        wording = (*self.seen[block], *self.unseen[block])[prompt.wording]
        if prompt.target is not None:
            assert self.targets is not None, f"{self.name} has no targets"
            wording = wording.replace("{target}", self.targets[prompt.target])
        before, place, after = wording.partition("{input}")
        return Asked(before, after) if place else Asked(f"{wording}\n", "")

    def _block(self, language: str) -> str:
        tag = language_tag(language)
        return next((it for it in (tag, tag.split("-")[0], FALLBACK) if it in self.seen), next(iter(self.seen)))


class TaskPool:
    """The tasks of a pool by name, and a hash of what they say."""

    def __init__(self, tasks: Mapping[str, PooledTask], digest: str) -> None:
        self.tasks = tasks
        self.digest = digest

    def prompts(self, task: str, language: str, unseen: bool = False) -> list[Prompt]:
        """The prompts of a task for a text in ``language``: those of its seen wordings, or those of its unseen ones."""
        record = self.tasks[task]
        num_seen, num_unseen = record.num_wordings(language)
        wordings = range(num_seen, num_seen + num_unseen) if unseen else range(num_seen)
        if record.targets is None:
            return [Prompt(task, wording) for wording in wordings]
        own = language_tag(language).split("-")[0]
        targets = [tag for tag in record.targets if tag.split("-")[0] != own]
        return [Prompt(task, wording, target) for wording in wordings for target in targets]

    def asked(self, prompt: Prompt, language: str) -> Asked:
        """The words around a text in ``language``."""
        return self.tasks[prompt.task].asked(prompt, language)

    def is_unseen(self, prompt: Prompt, language: str) -> bool:
        """Whether a wording is one that speech is never trained on."""
        return self.tasks[prompt.task].is_unseen(prompt, language)

    def check_tasks(self, names: list[str], key: str) -> None:
        """Make sure that there are these tasks.

        Raises:
            UserError: a name that is none.
        """
        for name in names:
            if name not in self.tasks:
                raise UserError(f"{key}: the pool has no task {name!r}; it has {', '.join(self.tasks)}")


NOTHING_ASKED = TaskPool(
    {NO_TASK: PooledTask(NO_TASK, {FALLBACK: ("{input}",)}, {FALLBACK: ()})}, "sha256:the transcript alone"
)
"""The pool without an instruction (AZeroS)."""


def read_pool(path: str | None = None) -> TaskPool:
    """The pool of a YAML file, or the one that comes with the package.

    Raises:
        UserError: no such file, or one that is no pool: a key that is not known, a task without wordings, a wording
            twice, a placeholder that is none.
    """
    where = path or "the task pool of the package"
    try:
        if path is None:
            text = resources.files("cslm.sequences").joinpath("task_pool.yaml").read_text(encoding="utf-8")
        else:
            text = Path(path).read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"the task pool {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the task pool {path} is no YAML: {' '.join(str(error).split())}") from None
    return pool_of(values, where)


def pool_of(values: Any, where: str) -> TaskPool:
    """The pool of plain values, as a YAML file holds them.

    Raises:
        UserError: see :func:`read_pool`.
    """
    if not isinstance(values, dict) or list(values) != ["tasks"] or not isinstance(values["tasks"], dict):
        raise UserError(f"{where}: a pool has one key, tasks, with a task below each name")
    tasks = {str(name): _task(str(name), block, f"{where}: the task {name}") for name, block in values["tasks"].items()}
    if not tasks or NO_TASK in tasks:
        raise UserError(f"{where}: a pool has one or more tasks, none of which is called {NO_TASK!r}")
    digest = hashlib.sha256(canonical_json(values).encode("utf-8")).hexdigest()
    return TaskPool(tasks, f"sha256:{digest}")


def _task(name: str, block: Any, where: str) -> PooledTask:
    if not isinstance(block, dict) or not isinstance(block.get("wordings"), dict) or not block["wordings"]:
        raise UserError(f"{where} has no wordings: give them by language, as wordings: {{en: {{seen: [...]}}}}")
    _check_keys(block, _TASK_KEYS, where)
    for key in ("held_out", "transcribes"):
        if not isinstance(block.get(key, False), bool):
            raise UserError(f"{where} has {key} {block[key]!r}: give true or false")
    targets = _targets(block.get("targets"), where)
    seen, unseen = dict[str, tuple[str, ...]](), dict[str, tuple[str, ...]]()
    for language, parts in block["wordings"].items():
        here = f"{where}, wordings.{language}"
        tag = language_tag(str(language))
        if not isinstance(parts, dict):
            raise UserError(f"{here}: give lists of wordings, as {{seen: [...], unseen: [...]}}")
        _check_keys(parts, _PARTS, here)
        seen[tag], unseen[tag] = (_wordings(parts.get(part, []), part, here, targets is not None) for part in _PARTS)
        every = [*seen[tag], *unseen[tag]]
        twice = [wording for index, wording in enumerate(every) if wording in every[:index]]
        if not seen[tag] or twice:
            raise UserError(f"{here}: " + (f"{twice[0]!r} stands there twice" if twice else "no wording is seen"))
    return PooledTask(name, seen, unseen, block.get("held_out", False), block.get("transcribes", False), targets)


def _wordings(found: Any, part: str, where: str, has_targets: bool) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(wording, str) and wording.strip() for wording in found):
        raise UserError(f"{where}.{part}: give a list of texts")
    for wording in found:
        try:
            names = [name for _, name, form, how in Formatter().parse(wording) if name is not None or form or how]
        except ValueError as error:
            raise UserError(f"{where}.{part}: {wording!r} has a brace too many ({error})") from None
        known = ["input", "target"] if has_targets else ["input"]
        wrong = [name for name in names if name not in known or names.count(name) > 1]
        if wrong:
            allowed = " and ".join(f"{{{name}}}" for name in known)
            raise UserError(f"{where}.{part}: {wording!r} has {{{wrong[0]}}}: it may have {allowed}, once each")
        if has_targets and "target" not in names:
            raise UserError(f"{where}.{part}: {wording!r} does not say {{target}}, and the task has targets")
    return tuple(found)


def _targets(found: Any, where: str) -> dict[str, str] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or len(found) < 2 or not all(isinstance(name, str) for name in found.values()):
        raise UserError(f"{where}: targets are two or more languages and what they are called: {{fr: French, ...}}")
    return {language_tag(str(tag)): name for tag, name in found.items()}


def _check_keys(found: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    for key in found:
        if key not in known:
            raise UserError(f"{where} has the key {key!r}, which is not known: give {', '.join(known)}")
