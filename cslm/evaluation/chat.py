"""Asking a chat model: each question once, what is not as wanted again, every reply kept by what decides it."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cslm.codecs.fingerprint import canonical_json
from cslm.evaluation.chat_config import ChatConfig
from cslm.evaluation.chat_contract import ChatFailure, ChatModel, ChatText, Messages
from cslm.files.atomic_file import create_atomically, write_atomically
from cslm.files.progress import progress_bar

Value = TypeVar("Value")

# Section of ChatConfig -> "module:Class" of its ChatModel. Imported only when used.
CHAT_MODELS = {
    "endpoint": "cslm.evaluation.chat_endpoint:ChatEndpoint",
    "local": "cslm.evaluation.chat_local:LocalChat",
}


class UnwantedReplyError(Exception):
    """A reply is not what was asked for; the message tells the model what was wrong."""


@dataclass(frozen=True)
class Asked(Generic[Value]):
    """What became of one question: a value, or a failure."""

    value: Value | None
    failure: ChatFailure | None = None


class ReplyFolder:
    """Replies in a folder, a file each, named by the hash of model, parameters and messages.

    Failures are not kept: the next run asks again. A file that cannot be read is asked for again and written anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> ChatText | None:
        """The reply that is kept under a key."""
        try:
            record = json.loads(self._file(key).read_text(encoding="utf-8"))
            return ChatText(str(record["text"]), bool(record["whole"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            return None

    def keep(self, key: str, identity: Any, messages: Messages, reply: ChatText) -> ChatText:
        """Keep a reply, with what was asked for who wants to read it; if another process was first, its reply stays."""
        record = {"request": {**identity, "messages": [dict(message) for message in messages]}, **reply._asdict()}
        content = (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
        if create_atomically(self._file(key), content):
            return reply
        first = self.find(key)
        if first is None:
            write_atomically(self._file(key), content)
        return first or reply

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


class Chat:
    """A chat model with its cache: what was answered once is never asked again."""

    def __init__(self, model: ChatModel, folder: Path, max_asks: int = 3) -> None:
        """Put them together.

        Args:
            folder: where replies are kept.
            max_asks: how often a question is asked whose reply is not as wanted.
        """
        self.model, self._kept, self._max_asks = model, ReplyFolder(folder), max_asks
        self.num_sent = 0  # requests that the cache could not answer

    def ask(
        self,
        conversations: Sequence[Messages],
        read: Callable[[str], Value],
        description: str = "ask the chat model",
    ) -> list[Asked[Value]]:
        """What each conversation is answered, in their order. Equal conversations are asked once.

        A reply that ``read`` refuses is given back to the model with the fault, up to ``max_asks`` replies.

        Args:
            read: takes a reply apart, or raises :class:`UnwantedReplyError`.

        Raises:
            UserError: a model that cannot be asked at all.
        """
        found: dict[int, Asked[Value]] = {}
        open_now: dict[int, Messages] = dict(enumerate(conversations))
        for number in range(1, self._max_asks + 1):
            replies = self._replies(list(open_now.values()), description if number == 1 else f"{description} again")
            again: dict[int, Messages] = {}
            for (index, messages), reply in zip(open_now.items(), replies, strict=True):
                if isinstance(reply, ChatFailure):
                    found[index] = Asked(None, reply)
                    continue
                try:
                    found[index] = Asked(_read(reply, read))
                except UnwantedReplyError as error:
                    found[index] = Asked(None, ChatFailure("unwanted", f"asked {number} times: {error}"))
                    again[index] = [*messages, *_asked_again(reply.text, str(error))]
            open_now = again
        return [found[index] for index in range(len(conversations))]

    def _replies(self, conversations: Sequence[Messages], description: str) -> list[ChatText | ChatFailure]:
        """The reply to each, from the cache or from the model; each is kept as soon as it is there."""
        identity = dict(self.model.identity)
        keys = [_key(identity, messages) for messages in conversations]
        known: dict[str, ChatText | ChatFailure | None] = {key: self._kept.find(key) for key in keys}
        missing = {key: messages for key, messages in zip(keys, conversations, strict=True) if known[key] is None}
        names, asked = list(missing), list(missing.values())
        self.num_sent += len(names)
        if names:
            for index, reply in progress_bar(self.model.complete(asked), len(asked), description):
                if isinstance(reply, ChatText):
                    reply = self._kept.keep(names[index], identity, asked[index], reply)
                known[names[index]] = reply
        return [_known(known[key]) for key in keys]


def open_chat(config: ChatConfig, folder: Path) -> Chat:
    """The chat model of a configuration, with its cache.

    Args:
        folder: where replies are kept unless the configuration names a folder.

    Raises:
        UserError: a model that cannot be opened; MissingExtraError: a package that it needs is missing.
    """
    section = "endpoint" if config.endpoint is not None else "local"
    module, _, attribute = CHAT_MODELS[section].partition(":")
    model: ChatModel = getattr(importlib.import_module(module), attribute)(config)
    return Chat(model, Path(config.cache) if config.cache is not None else folder, config.max_asks)


def read_text(reply: str) -> str:
    """The reader of replies that are the text itself: without spaces around it."""
    return reply.strip()


def count_failures(asked: Iterable[Asked[Any]]) -> dict[str, int]:
    """How many questions failed, by kind, in the order of the kinds' names."""
    return dict(sorted(Counter(one.failure.kind for one in asked if one.failure is not None).items()))


def _known(reply: ChatText | ChatFailure | None) -> ChatText | ChatFailure:
    assert reply is not None, "the chat model answers every conversation"
    return reply


def _read(reply: ChatText, read: Callable[[str], Value]) -> Value:
    if not reply.whole:
        raise UnwantedReplyError("the reply was cut off at the limit of length")
    return read(reply.text)


def _key(identity: Any, messages: Messages) -> str:
    asked = {"request": identity, "messages": [dict(message) for message in messages]}
    return hashlib.sha256(canonical_json(asked).encode("utf-8")).hexdigest()


def _asked_again(reply: str, fault: str) -> list[dict[str, str]]:
    """The refused reply, and what the model is told about it."""
    told = f"That cannot be used: {fault}. Answer again, in the form that was asked for and nothing else."
    return [{"role": "assistant", "content": reply}, {"role": "user", "content": told}]
