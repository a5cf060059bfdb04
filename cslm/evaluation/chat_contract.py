"""What a chat model is: messages in, one text a conversation out, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Messages = Sequence[Mapping[str, str]]
"""A conversation: ``role`` (system, user, assistant) and ``content`` of each message, the oldest first."""


class ChatText(NamedTuple):
    """What a model wrote."""

    text: str
    whole: bool = True
    """whether the model ended it itself, and no limit of length did"""


class ChatFailure(NamedTuple):
    """Why there is no reply. It is data, not an error: who asked counts it and names the item."""

    kind: str
    """a word to count by: ``timeout``, ``rate_limit``, ``server``, ``connection``, ``refused``, ``malformed``,
    ``filtered``, ``unwanted``"""
    reason: str
    """a line to read; where an endpoint refuses, with the words in which it does"""


class ChatModel(Protocol):
    """Answers conversations. Replies come in any order, each as soon as it is there, so that it can be kept."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides a reply beside the messages, as plain values: the model and the parameters."""

    def complete(self, conversations: Sequence[Messages]) -> Iterator[tuple[int, ChatText | ChatFailure]]:
        """Yield the index of a conversation and its reply, each once. Closing the iterator stops the work.

        Raises:
            UserError: a model that cannot be asked at all.
        """
