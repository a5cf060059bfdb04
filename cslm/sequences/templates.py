"""Chat templates as pieces, found through sentinels, so that contents never pass through a template as text.

A template is rendered once with a sentinel in the place of every content; what stands between the sentinels is cut at
its control tokens. The text between two of these, of the template and of contents, is tokenized together
(:class:`~cslm.sequences.sequence.SequenceBuilder`), so that the ids are those of ``apply_chat_template``. A
beginning-of-text token stands where the template writes it, once. Of a template only what ends an assistant's turn is
learnt, and the space that a template writes before a reply where it does not end a prompt with it; system text, headers
and user turns never are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from cslm.errors import UserError
from cslm.sequences.text_encoder import is_control

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# For a base model that has no template: plain words and the tokenizer's own end of text.
DEFAULT_CHAT_TEMPLATE = (
    "{{ bos_token if bos_token is defined and bos_token else '' }}{% for message in messages %}"
    "{{ message['role'] | capitalize + ': ' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)

# Some templates write today's date; ours is always this one, so that the same input gives the same ids.
_TODAY = datetime(2024, 7, 26)
_CODES = [f"%{pad}{code}" for code in "aAbBcdHIjmMpSUwWxXyYf" for pad in ("", "-")]
_CLOCK = (  # stands in for the function of that name that transformers gives to templates
    "{% macro strftime_now(form) %}{{ form"
    + "".join(f".replace('{code}', '{_TODAY.strftime(code)}')" for code in _CODES)
    + " }}{% endmacro %}{{ '' }}"
)
SENTINEL = re.compile("\ue000(\\d+)\ue001")
_ODD = 'a "b"\n<c> & d'
_BEFORE, _BEHIND = 2, 3  # spaces around a sentinel on which it is tried what a template strips
_NAMED_TOKEN = re.compile(r"<\|[^<>|\s]+\|>")


@dataclass(frozen=True, slots=True)
class TemplatePiece:
    """What a template writes between two contents."""

    parts: tuple[str | int, ...]
    """texts, and ids of control tokens, in their order"""
    num_trained: int = 0
    """so many of the parts end an assistant's turn, and are learnt"""
    lead: str = ""
    """space that it writes right before the content, and not at the end of a prompt: it goes with the content"""
    strips: tuple[str, str] = ("", "")
    """what is left out at the beginning and at the end of the content that follows: nothing, lines, or any ``" "``"""


class ChatWrapper:
    """The chat template of a tokenizer, or a given one, as pieces.

    A tokenizer without a template gets ``chat_template``, or a plain default, so that it is saved with the checkpoint.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None) -> None:
        if chat_template is not None or not tokenizer.chat_template:
            tokenizer.chat_template = chat_template or DEFAULT_CHAT_TEMPLATE
        self._tokenizer = tokenizer
        added = {token_id: (str(token), token.special) for token_id, token in tokenizer.added_tokens_decoder.items()}
        special = {token_id for token_id, (_, is_special) in added.items() if is_special}
        self._special_ids = frozenset(tokenizer.all_special_ids) | special
        self._control_ids = self._special_ids | {it for it, (content, _) in added.items() if is_control(content, False)}
        decoder = tokenizer.added_tokens_decoder
        self._takes_space_before = frozenset(it for it, token in decoder.items() if token.lstrip)
        self._takes_space_behind = frozenset(it for it, token in decoder.items() if token.rstrip)
        self._pieces: dict[tuple[str, ...], tuple[TemplatePiece, ...]] = {}
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} has no eos_token: name one in its config"
            )

    def pieces(self, roles: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
        """The pieces of a conversation of ``roles``: one before each content, and one after the last.

        Raises:
            UserError: the template refuses these roles, leaves a content out, or writes tokens that are none.
        """
        if roles not in self._pieces:
            self._pieces[roles] = self._find_pieces(roles)
        return self._pieces[roles]

    @property
    def end_of_turn_ids(self) -> tuple[int, ...]:
        """The control tokens that end an assistant's turn; generation stops at the last of them."""
        piece = self.pieces(("user", "assistant"))[-1]
        return tuple(part for part in piece.parts[: piece.num_trained] if isinstance(part, int))

    @property
    def special_ids(self) -> frozenset[int]:
        """The special tokens of the tokenizer."""
        return self._special_ids

    @property
    def structure_ids(self) -> frozenset[int]:
        """The control tokens that begin and end turns and documents."""
        pieces = self.pieces(("user", "assistant"))
        written = {part for piece in pieces for part in piece.parts if isinstance(part, int)}
        return frozenset(written & self._special_ids) | frozenset(self._tokenizer.all_special_ids)

    def document_ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What begins a plain document (a beginning of text, if the template has one) and what ends it."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        first = self.pieces(("user", "assistant"))[0].parts[:1]
        return ((bos,) if bos is not None and first == (bos,) else ()), (eos,)

    def piece(self, text: str, ends_turn: bool = False) -> TemplatePiece:
        """A text of the template as a piece; one that ends an assistant's turn is learnt up to its first token.

        Raises:
            UserError: it spells a token that the tokenizer does not have.
        """
        parts, num_trained = self._turn_end(self._cut(text)) if ends_turn else (self._cut(text), 0)
        return TemplatePiece(parts, num_trained)

    def apply(self, messages: list[dict[str, str]], add_generation_prompt: bool = False) -> str:
        """What the template makes of messages.

        Raises:
            jinja2.TemplateError: the template refuses them.
        """
        return apply_template(self._tokenizer, messages, add_generation_prompt=add_generation_prompt)

    def _find_pieces(self, roles: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
        texts = self._render(roles)
        self._check_contents(roles)
        strips = [*self._find_strips(roles, texts), ("", "")]
        pieces = []
        for index, text in enumerate(texts):
            replies = index < len(roles) and roles[index] == "assistant"
            lead = self._find_lead(roles[:index], text) if replies else ""
            piece = self.piece(text.removesuffix(lead), index > 0 and roles[index - 1] == "assistant")
            pieces.append(dataclasses.replace(piece, lead=lead, strips=strips[index]))
        return tuple(self._with_greedy_tokens(pieces))

    def _with_greedy_tokens(self, pieces: list[TemplatePiece]) -> Iterator[TemplatePiece]:
        """The pieces; a token that takes the space beside it takes that of a content too."""
        for piece, following in zip(pieces, [*pieces[1:], TemplatePiece(())], strict=True):
            left, right = piece.strips
            left = " " if piece.parts and piece.parts[-1] in self._takes_space_behind else left
            right = " " if following.parts and following.parts[0] in self._takes_space_before else right
            yield dataclasses.replace(piece, strips=(left, right))

    def _cut(self, text: str) -> tuple[str | int, ...]:
        """A text of a template at its control tokens.

        Raises:
            UserError: it spells a token that the tokenizer does not have.
        """
        found = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        controls = [(i, place) for i, place in zip(found.ids, found.offsets, strict=True) if i in self._control_ids]
        parts: list[str | int] = []
        place = 0
        for token_id, (start, stop) in controls:
            parts += [text[place:start], token_id]
            place = stop
        parts.append(text[place:])
        unknown = _NAMED_TOKEN.search("".join(part if isinstance(part, str) else " " for part in parts))
        if unknown is not None:
            raise UserError(
                f"the chat template of {self._name} writes {unknown[0]}, and the tokenizer has no such token: give the "
                "template of this tokenizer, or documents without that role"
            )
        return tuple(part for part in parts if part != "")

    def _turn_end(self, parts: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], int]:
        for index, part in enumerate(parts):
            if part in self._special_ids:
                return parts, index + 1
        return (self._tokenizer.eos_token_id, *parts), 1

    def _find_lead(self, roles: tuple[str, ...], text: str) -> str:
        """The space at the end of ``text``, which goes before a reply, that a prompt for that reply does not have.

        A template that writes no prompts leaves it to us where they end: before that space.
        """
        try:
            before, prompt = (self.apply(_messages(roles), prompted) if roles else text for prompted in (False, True))
        except (TemplateError, TypeError):
            return ""
        tail = self._split(prompt)[-1]
        lead = text.removeprefix(tail)
        if text.startswith(tail) and (lead.isspace() or not lead):
            return lead
        return text[len(text.rstrip(" ")) :] if before == prompt else ""

    def _find_strips(self, roles: tuple[str, ...], texts: list[str]) -> list[tuple[str, str]]:
        """For each content what the template strips from its beginning and from its end."""
        stripped = [("", "")] * len(roles)
        for space in ("\n", " "):  # one that strips blanks strips lines too
            found = self._split(self.apply(_messages(roles, space)))
            more = [len(padded) - len(text) for padded, text in zip(found, texts, strict=False)]
            if len(found) != len(texts) or not set(more) <= {0, _BEFORE, _BEHIND, _BEFORE + _BEHIND}:
                continue
            for index, (before, behind) in enumerate(pairwise(more)):
                left, right = stripped[index]
                left = space if before not in (_BEFORE, _BEFORE + _BEHIND) else left
                right = space if behind not in (_BEHIND, _BEFORE + _BEHIND) else right
                stripped[index] = (left, right)
        return stripped

    def _check_contents(self, roles: tuple[str, ...]) -> None:
        """Make sure that the template writes contents as they are, inside of them.

        Raises:
            UserError: it writes those of a role in another way, as JSON perhaps.
        """
        contents = [f"{sentinel(2 * index)}{_ODD}{sentinel(2 * index + 1)}" for index in range(len(roles))]
        messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        for role, found in zip(roles, self._split(self.apply(messages))[1::2], strict=False):
            if found != _ODD:
                raise UserError(
                    f"the chat template of {self._name} rewrites the content of the role {role} ({_ODD!r} becomes "
                    f"{found!r}): give a chat_template that writes it as it is, or documents without that role"
                )

    def _render(self, roles: tuple[str, ...]) -> list[str]:
        try:
            rendered = self.apply(_messages(roles))
        except (TemplateError, TypeError) as error:
            raise UserError(
                f"the chat template of {self._name} refuses a conversation of {', '.join(roles)}: {error}"
            ) from error
        if SENTINEL.findall(rendered) != [str(index) for index in range(len(roles))]:
            raise UserError(
                f"the chat template of {self._name} does not write the contents of {', '.join(roles)} once, in order"
            )
        return self._split(rendered)

    def _split(self, rendered: str) -> list[str]:
        """What stands before, between and after the contents."""
        return SENTINEL.split(rendered)[0::2]

    @property
    def _name(self) -> str:
        return self._tokenizer.name_or_path or "(unnamed)"


def apply_template(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], add_generation_prompt: bool = False
) -> str:
    """What the chat template of a tokenizer makes of messages, on the day that all our conversations take place.

    Raises:
        jinja2.TemplateError: the template refuses them.
    """
    template = tokenizer.get_chat_template()
    rendered = tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        chat_template=_CLOCK + template if "strftime_now" in template else template,
        add_generation_prompt=add_generation_prompt,
        date_string=_TODAY.strftime("%d %b %Y"),
    )
    return str(rendered)


def sentinel(number: int) -> str:
    """What stands in a template in the place of a text; :data:`SENTINEL` finds it again."""
    return f"\ue000{number}\ue001"


def _messages(roles: tuple[str, ...], space: str = "") -> list[dict[str, str]]:
    """Messages of these roles with a sentinel in the place of each content, and perhaps space around it."""
    return [
        {"role": role, "content": f"{space * _BEFORE}{sentinel(index)}{space * _BEHIND}"}
        for index, role in enumerate(roles)
    ]
