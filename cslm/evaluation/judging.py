"""A judge: a chat model that gives each answer a score, or says whether it is right. Verdicts go by the item's id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.errors import UserError
from cslm.evaluation.chat import Asked, Chat, count_failures, open_chat
from cslm.evaluation.chat_config import ChatConfig
from cslm.evaluation.judge_prompts import JudgePrompt, load_judge_prompt
from cslm.evaluation.score_contract import Record
from cslm.evaluation.scored_model import spread
from cslm.evaluation.strict_json import read_json
from cslm.ranges import Range, check_numbers

TEXTS = ("answer", "heard")
_EMPTY = "the answer is empty"
_FIELDS = {"question": ("question_reference", "question"), "reference": ("answer_reference", "reference")}
"""Where a line says what a prompt stands on, if it does not say so by that very name alone."""


@dataclass
class JudgeConfig:
    """A chat model that judges answers."""

    chat: ChatConfig
    """which model, and where it runs"""
    prompt: str = "quality"
    """what it is told: quality (1 to 5), against_reference (right or wrong), or the path of a YAML file"""
    text: str = "answer"
    """what is judged: the answer as it was written, or what was heard in its speech: heard"""
    max_items: int | None = None
    """it judges so many answers of each direction at most, spread over them; null judges all"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value that is none of those that there are.
        """
        if self.text not in TEXTS:
            raise UserError(f"judge.text is {self.text!r}: choose one of {', '.join(TEXTS)}")
        check_numbers(self, "judge", max_items=Range(least=1))


class Judge:
    """A chat model with a prompt."""

    def __init__(self, config: JudgeConfig, folder: Path) -> None:
        """Open both.

        Args:
            folder: where the model's replies are kept, unless the configuration names a folder.

        Raises:
            UserError: there is no such prompt, or the model cannot be opened.
        """
        self.config = config
        self.prompt: JudgePrompt = load_judge_prompt(config.prompt)
        self._chat: Chat = open_chat(config.chat, folder)

    def check(self, dialogues: Iterable[Mapping[str, Any]]) -> None:
        """Make sure that lines which are still to be answered hold what the prompt stands on.

        Raises:
            UserError: one does not.
        """
        needed = [name for name in self._needed if name != "answer"]
        for dialogue in dialogues:
            self._judged(dialogue, needed)

    def judge(self, replies: Sequence[Record]) -> list[Record]:
        """The lines again, each that was judged with ``judge``: ``score`` or ``right`` and ``reason``, or
        ``failed``; and which ``text`` was judged.

        An empty answer has the lowest score, or is wrong, and the model is not asked. A failure is counted by its kind,
        said once, and stands on its own line: no other answer's verdict ever takes its place.

        Raises:
            UserError: two lines with one id, a line that does not say what the prompt stands on, or a model that cannot
                be asked at all.
        """
        check_ids(replies)
        chosen = self._chosen(replies)
        judged = {str(reply["id"]): self._judged(reply, self._needed) for reply in chosen}
        verdicts = {name: self._lowest() for name, fields in judged.items() if not fields["answer"].strip()}
        asked = [name for name in judged if name not in verdicts]
        conversations = [self.prompt.messages(judged[name]) for name in asked]
        found = self._chat.ask(conversations, lambda reply: read_json(reply, self.prompt.wanted), "judge the answers")
        for name, one in zip(asked, found, strict=True):
            verdicts[name] = _verdict(one)
        failed = count_failures(found)
        if failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in failed.items())
            print(
                f"judge: {sum(failed.values())} of {len(found)} answers have no verdict ({kinds}): their lines say "
                "`failed`, and no mean counts them",
                flush=True,
            )
        return [self._with_verdict(reply, verdicts) for reply in replies]

    @property
    def _needed(self) -> list[str]:
        return list(dict.fromkeys([*self.prompt.placeholders, "answer"]))

    def _chosen(self, replies: Sequence[Record]) -> list[Record]:
        groups: dict[str, list[Record]] = {}
        for reply in replies:
            groups.setdefault(str(reply.get("direction", "")), []).append(reply)
        return [reply for group in groups.values() for reply in spread(group, self.config.max_items)]

    def _judged(self, reply: Mapping[str, Any], needed: Iterable[str]) -> dict[str, str]:
        """What the prompt stands on, from a line."""
        found = {}
        for name in needed:
            keys = (self.config.text,) if name == "answer" else _FIELDS.get(name, (name,))
            text = next((reply[key] for key in keys if isinstance(reply.get(key), str)), None)
            if text is None:
                raise UserError(
                    f"judge: the prompt {self.prompt.name} stands on ${name}, and the reply {reply['id']!r} has no "
                    f"text {' or '.join(keys)}: add it, or choose another prompt"
                )
            found[name] = text
        if isinstance(reply.get("answer_language"), str):
            found["answer_language"] = reply["answer_language"]
        return found

    def _with_verdict(self, reply: Record, verdicts: Mapping[str, Record]) -> Record:
        name = str(reply["id"])
        kept = {key: value for key, value in reply.items() if key != "judge"}  # of another judge, perhaps
        return {**kept, "judge": {"text": self.config.text, **verdicts[name]}} if name in verdicts else kept

    def _lowest(self) -> Record:
        lowest: Record = {"right": False} if self.prompt.scale is None else {"score": self.prompt.scale[0]}
        return {"reason": _EMPTY, **lowest}


def _verdict(asked: Asked[Record]) -> Record:
    if asked.failure is not None:
        return {"failed": asked.failure.kind, "reason": asked.failure.reason}
    assert asked.value is not None
    return asked.value


def check_ids(replies: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that each line has an id of its own: verdicts are kept by it.

    Raises:
        UserError: two have one.
    """
    seen: set[str] = set()
    for reply in replies:
        name = str(reply["id"])
        if name in seen:
            raise UserError(f"judge: two replies have the id {name!r}: give each its own")
        seen.add(name)
