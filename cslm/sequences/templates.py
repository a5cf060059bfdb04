"""Chat templates as pieces of ids, found through sentinels, so that contents never pass through a template as text.

A template is rendered once with a sentinel in the place of every content; what stands between the sentinels is
tokenized with its control tokens, and the contents go through :class:`~cslm.sequences.text_encoder.TextEncoder`. A
beginning-of-text token stands where the template writes it, once. Of a template only the token that ends an assistant's
turn is learnt; system text, headers and user turns never are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from cslm.errors import UserError

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
_DATE = "26 Jul 2024"
_SENTINEL = re.compile("\ue000(\\d+)\ue001")


@dataclass(frozen=True, slots=True)
class TemplatePiece:
    """What a template writes between two contents.

    Its first ``num_trained`` ids end an assistant's turn, and are learnt.
    """

    ids: tuple[int, ...]
    num_trained: int


class ChatWrapper:
    """The chat template of a tokenizer, or a given one, as pieces of ids.

    A tokenizer without a template gets ``chat_template``, or a plain default, so that it is saved with the checkpoint.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None) -> None:
        if chat_template is not None or not tokenizer.chat_template:
            tokenizer.chat_template = chat_template or DEFAULT_CHAT_TEMPLATE
        self._tokenizer = tokenizer
        self._control_ids = frozenset(tokenizer.all_special_ids) | frozenset(
            token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special
        )
        self._pieces: dict[tuple[str, ...], tuple[TemplatePiece, ...]] = {}
        if tokenizer.eos_token_id is None:
            raise UserError(
                f"the tokenizer {tokenizer.name_or_path or '(unnamed)'} has no eos_token: name one in its config"
            )

    def pieces(self, roles: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
        """The pieces of a conversation of ``roles``: one before each content, and one after the last.

        Raises:
            UserError: the template refuses these roles, or leaves a content out.
        """
        if roles not in self._pieces:
            self._pieces[roles] = self._find_pieces(roles)
        return self._pieces[roles]

    @property
    def end_of_turn_ids(self) -> tuple[int, ...]:
        """The ids that end an assistant's turn; generation stops at the last of them."""
        piece = self.pieces(("user", "assistant"))[-1]
        return piece.ids[: piece.num_trained]

    def document_ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What begins a plain document (a beginning of text, if the template has one) and what ends it."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        first = self.pieces(("user", "assistant"))[0].ids[:1]
        return ((bos,) if bos is not None and first == (bos,) else ()), (eos,)

    def _find_pieces(self, roles: tuple[str, ...]) -> tuple[TemplatePiece, ...]:
        texts = self._render(roles)
        pieces = []
        for index, text in enumerate(texts):
            ids = tuple(self._tokenizer.encode(text, add_special_tokens=False)) if text else ()
            if index and roles[index - 1] == "assistant":
                pieces.append(self._turn_end(ids))
            else:
                pieces.append(TemplatePiece(ids, 0))
        return tuple(pieces)

    def _turn_end(self, ids: tuple[int, ...]) -> TemplatePiece:
        for index, token_id in enumerate(ids):
            if token_id in self._control_ids:
                return TemplatePiece(ids, index + 1)
        return TemplatePiece((self._tokenizer.eos_token_id, *ids), 1)

    def _render(self, roles: tuple[str, ...]) -> list[str]:
        messages = [{"role": role, "content": f"\ue000{index}\ue001"} for index, role in enumerate(roles)]
        name = self._tokenizer.name_or_path or "(unnamed)"
        try:
            rendered = self._tokenizer.apply_chat_template(messages, tokenize=False, date_string=_DATE)
        except TemplateError as error:
            raise UserError(
                f"the chat template of {name} refuses a conversation of {', '.join(roles)}: {error}"
            ) from error
        parts = _SENTINEL.split(str(rendered))
        if parts[1::2] != [str(index) for index in range(len(roles))]:
            raise UserError(
                f"the chat template of {name} does not write the contents of {', '.join(roles)} once, in order"
            )
        return parts[0::2]
