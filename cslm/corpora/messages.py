"""Messages of conversations, however a data set spells them: roles and contents, as ``role`` and ``content``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}
"""Name of a role in a data set to ours."""

_NOT_WRITTEN = (
    "tool_calls", "function_call", "reasoning_content", "reasoning", "thinking", "images", "audio", "weight", "train",
)  # fmt: skip
"""Keys of a message that ask for something which no sequence would hold or heed."""


def said_messages(document: Mapping[str, Any]) -> Any:
    """The messages of a document: its field ``messages``, or ``conversations``, as ShareGPT calls it.

    Beside ``conversations`` a field ``system`` is what the system says first.
    """
    if "messages" in document:
        return document["messages"]
    messages, system = document.get("conversations"), document.get("system")
    return [{"role": "system", "content": system}, *messages] if system and isinstance(messages, list) else messages


def plain_messages(value: Any) -> list[dict[str, str]] | str:
    """Messages ``{"role": ..., "content": ...}`` or ``{"from": ..., "value": ...}`` with our roles and these two keys.

    Or, where they cannot be learnt as they are, the reason in a few words.
    """
    if not isinstance(value, list):
        return "messages is missing" if value is None else "messages is no list"
    messages = []
    for message in value:
        if not isinstance(message, dict):
            return "a message without role and content"
        role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if not isinstance(role, str) or role not in ROLES:
            return f"a message of the role {role!r}, which is none of {', '.join(ROLES)}"
        asked = [key for key in _NOT_WRITTEN if message.get(key) not in (None, [], {}, "", 1)]
        if asked:
            return f"a message with {asked[0]}, which is not written: write it into the content, or leave it out"
        if not isinstance(content, str):
            return f"a message of the role {role!r} whose content is {_short(content)}, and no text"
        messages.append({"role": ROLES[role], "content": content})
    if not any(message["role"] == "assistant" for message in messages):
        return "no message of the assistant"
    return messages


def _short(value: Any) -> str:
    return "null or missing" if value is None else f"a {type(value).__name__}"
