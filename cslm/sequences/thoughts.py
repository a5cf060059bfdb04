"""Conversations whose contents write control tokens of the base, such as ``<think>``, and templates that look at these.

Templates of models that think take a content apart at such tokens: they write thoughts in a place of their own, and
leave out those of earlier turns. So a content is cut at the tokens that it may write; what stands between them is kept
from the template by sentinels, and the tokens are not. What comes out is what ``apply_chat_template`` makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from jinja2 import TemplateError

from cslm.errors import UserError
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.templates import SENTINEL, TemplatePiece, sentinel


@dataclass(frozen=True, slots=True)
class _Fragment:
    """A text between tokens."""

    message: int
    """which message it is of"""
    text: str


def writes_tokens(form: SequenceFormat, messages: Seq[dict[str, str]]) -> bool:
    """Whether a content spells a token that the texts of this format may write."""
    return any(token in message["content"] for token in form.written for message in messages)


def conversation_with_tokens(form: SequenceFormat, messages: Seq[dict[str, str]], language: str) -> Sequence:
    """The conversation; of the assistant's turns all is learnt that does not end a prompt.

    Raises:
        UserError: the template refuses the roles or contents, or leaves a content out.
    """
    fragments, cut = _cut(form, messages)
    texts, kept = _rendered(form, cut, fragments)
    builder = SequenceBuilder(form.encoder, form.vocabulary, "instruction")
    before = -1
    for text, fragment in zip(texts, kept, strict=False):
        role = messages[fragment.message]["role"]
        learns = role == "assistant"
        if fragment.message != before:
            header, text = _header(form, cut[: fragment.message], text) if learns else (text, "")
            piece = form.chat.piece(header, ends_turn=before >= 0 and messages[before]["role"] == "assistant")
            builder.add_piece(piece)
            builder.turn(role, language, trained=learns)  # type: ignore[arg-type]
            builder.begin_content(TemplatePiece(()))
        parts = form.chat.piece(text).parts
        builder.add_piece(TemplatePiece(parts, len(parts) if learns else 0), "text")
        builder.add_text(fragment.text)
        before = fragment.message
    builder.add_piece(form.chat.piece(texts[-1], ends_turn=messages[before]["role"] == "assistant"))
    return builder.finish()


def _cut(form: SequenceFormat, messages: Seq[dict[str, str]]) -> tuple[list[_Fragment], list[dict[str, str]]]:
    """The texts between tokens, and the messages with a sentinel in the place of each."""
    tokens = "|".join(re.escape(token) for token in sorted(form.written, key=len, reverse=True))
    between = re.compile(rf"(\s*(?:(?:{tokens})\s*)+|^\s+|\s+$)")
    fragments: list[_Fragment] = []
    cut = []
    for number, message in enumerate(messages):
        content = ""
        for place, text in enumerate(between.split(message["content"])):
            if place % 2 == 0 and text:
                content += sentinel(len(fragments))
                fragments.append(_Fragment(number, text))
            else:
                content += text
        if not fragments or fragments[-1].message != number:  # nothing but tokens and space
            said = content.rstrip()
            content = said + sentinel(len(fragments)) + content[len(said) :]
            fragments.append(_Fragment(number, ""))
        cut.append({**message, "content": content})
    return fragments, cut


def _rendered(
    form: SequenceFormat, cut: list[dict[str, str]], fragments: list[_Fragment]
) -> tuple[list[str], list[_Fragment]]:
    """What stands before, between and behind the fragments that the template keeps, and these."""
    try:
        rendered = form.chat.apply(cut)
    except (TemplateError, TypeError) as error:
        raise UserError(f"the chat template refuses a conversation: {error}") from error
    found = [int(number) for number in SENTINEL.findall(rendered)]
    last = {fragment.message: place for place, fragment in enumerate(fragments)}
    if found != sorted(set(found)) or not set(last.values()) <= set(found):
        raise UserError(
            f"the chat template does not write every content of a conversation with {' '.join(form.written)} once, in "
            "order: give another chat_template"
        )
    return SENTINEL.split(rendered)[0::2], [fragments[place] for place in found]


def _header(form: SequenceFormat, cut: list[dict[str, str]], text: str) -> tuple[str, str]:
    """What of a text before a reply ends the prompt, and what the model writes itself."""
    try:
        prompt = SENTINEL.split(form.chat.apply(cut, add_generation_prompt=True))[-1] if cut else text
    except (TemplateError, TypeError):
        return text, ""
    return (prompt, text[len(prompt) :]) if text.startswith(prompt) else (text, "")
