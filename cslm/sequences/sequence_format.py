"""What writing a sequence takes: text encoder, chat template, speech vocabulary. Made once from a tokenizer."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cslm.errors import UserError
from cslm.sequences.hearing import Hearing
from cslm.sequences.known_texts import KnownTexts
from cslm.sequences.sequence import Role, Sequence, SequenceBuilder, Span
from cslm.sequences.templates import ChatWrapper, TemplatePiece
from cslm.sequences.text_encoder import TextEncoder, surface
from cslm.sequences.vocabulary import SpeechVocabulary, from_tokenizer, has_speech

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Content = Callable[[SequenceBuilder], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation: who speaks, in which language, and what writes its content."""

    role: Role
    language: str
    content: Content
    learnt: bool = True
    """whether a turn of the assistant is trained, and the tokens that end it"""


class SequenceFormat:
    """How sequences are written for one tokenizer; ``vocabulary`` is None for a model of text only.

    A textless model has neither a text encoder nor a chat template: its documents are units and what ends them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, chat_template: str | None = None) -> None:
        self.vocabulary: SpeechVocabulary | None = from_tokenizer(tokenizer) if has_speech(tokenizer) else None
        self.written: tuple[str, ...] = ()
        """control tokens of the base that texts may write"""
        self._hearing: Hearing | None = None
        self._tokenizer = tokenizer
        self._encoder = None if self.is_textless else TextEncoder(tokenizer)
        self._chat = None if self.is_textless else ChatWrapper(tokenizer, chat_template)

    @property
    def is_textless(self) -> bool:
        """Whether there are units alone, and no text."""
        return self.vocabulary is not None and self.vocabulary.is_textless

    @property
    def encoder(self) -> TextEncoder:
        """Text to ids and back.

        Raises:
            UserError: a textless model.
        """
        if self._encoder is None:
            raise self._no_text("no text")
        return self._encoder

    @property
    def chat(self) -> ChatWrapper:
        """The turns of a conversation.

        Raises:
            UserError: a textless model.
        """
        if self._chat is None:
            raise self._no_text("no turns of a conversation")
        return self._chat

    @property
    def hearing(self) -> Hearing:
        """How places are kept for recordings.

        Raises:
            UserError: the model does not hear recordings as vectors.
        """
        if self._hearing is None:
            raise UserError(
                f"{self._tokenizer.name_or_path or 'the model'} has no connector, so no recording can be put before "
                "it: train one (train-prompt), or take tasks that read a unit store"
            )
        return self._hearing

    def hearing_by(self, hearing: Hearing) -> SequenceFormat:
        """The same format, which keeps places for recordings."""
        form = copy.copy(self)
        form._hearing = hearing
        return form

    def _no_text(self, what: str) -> UserError:
        return UserError(
            f"{self._tokenizer.name_or_path or 'the model'} is textless (units alone): it reads and writes {what}; let "
            "it continue speech, or take a model with text"
        )

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The ids that end a reply, or a document of a textless model; sorted."""
        if self._chat is None:
            return self.document_ends()[1]
        return tuple(sorted({self._chat.end_of_turn_ids[-1], *self.document_ends()[1]}))

    def document_ends(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What begins a document without turns, and what ends it; nothing begins a textless one."""
        if self._chat is not None:
            return self._chat.document_ends()
        assert self.vocabulary is not None and self.vocabulary.end_of_document is not None
        return (), (self.vocabulary.end_of_document,)

    def knowing(self, known: KnownTexts) -> SequenceFormat:
        """The same format, which finds some texts tokenized."""
        form = copy.copy(self)
        form._encoder = self.encoder.knowing(known)
        return form

    @property
    def word_ids(self) -> frozenset[int]:
        """Control tokens that stand inside a text, as ``<think>`` does in a reply: neither special nor of speech."""
        if self.is_textless:
            return frozenset()
        controls = frozenset(self.encoder.controls.values()) - self.chat.special_ids
        if self.vocabulary is None:
            return controls
        return frozenset(token_id for token_id in controls if token_id < self.vocabulary.num_text_ids)

    def writing(self, control_tokens: Seq[str]) -> SequenceFormat:
        """The same format, whose texts write these control tokens where they spell them.

        Raises:
            UserError: there is no such token, or it is a unit, a marker, or begins or ends turns and documents.
        """
        if not control_tokens:
            return self
        encoder = self.encoder.writing(control_tokens)
        for token in control_tokens:
            token_id = self.encoder.controls.get(token)
            if token_id is None:
                raise UserError(f"{token!r} is no control token of the tokenizer, but plain text: leave it out")
            if self.vocabulary is not None and token_id >= self.vocabulary.num_text_ids:
                raise UserError(f"{token!r} is a unit or a marker of speech, which no text may write: leave it out")
            if token_id in self.chat.structure_ids:
                raise UserError(f"{token!r} begins or ends turns, which no text may write: leave it out")
        form = copy.copy(self)
        form._encoder, form.written = encoder, tuple(control_tokens)
        return form

    def conversation(self, task: str, turns: list[Turn], ends: bool = True) -> Sequence:
        """A whole conversation; the assistant's contents and the tokens that end its turns are trained.

        Without ``ends`` nothing stands behind the last content: of a reply that was cut off no end is learnt.
        """
        builder = SequenceBuilder(self.encoder, self.vocabulary, task)
        self._write_turns(builder, turns)
        if ends:
            builder.add_piece(self._piece_behind(turns[-1], self.chat.pieces(tuple([turn.role for turn in turns]))[-1]))
        return builder.finish()

    def prompt(self, task: str, turns: list[Turn]) -> Sequence:
        """The start of a generation: the turns, and the header of the assistant's reply to them.

        The ids are those that :meth:`conversation` writes before the content of that reply.
        """
        builder = SequenceBuilder(self.encoder, self.vocabulary, task)
        self._write_turns(builder, [*turns, Turn("assistant", turns[-1].language, _nothing)])
        return builder.finish()

    def document(self, task: str, language: str, content: Content) -> Sequence:
        """A document without turns, all of it trained, ended by the tokenizer's end of text."""
        builder = self._begin_document(task, language, content)
        after = self.document_ends()[1]
        builder.add_template(after, num_trained=len(after))
        return builder.finish()

    def opening(self, task: str, language: str, content: Content) -> Sequence:
        """The beginning of a document, for what goes on from there: the ids of :meth:`document` without its end."""
        return self._begin_document(task, language, content).finish()

    def _begin_document(self, task: str, language: str, content: Content) -> SequenceBuilder:
        builder = SequenceBuilder(self._encoder, self.vocabulary, task)
        builder.turn("document", language, trained=True)
        builder.add_template(self.document_ends()[0])
        content(builder)
        return builder

    def _write_turns(self, builder: SequenceBuilder, turns: list[Turn]) -> None:
        # The piece before a content also ends the turn before it, and belongs to that one.
        pieces = self.chat.pieces(tuple([turn.role for turn in turns]))
        for number, (turn, piece) in enumerate(zip(turns, pieces, strict=False)):
            builder.add_piece(self._piece_behind(turns[number - 1], piece) if number else piece)
            builder.turn(turn.role, turn.language, trained=turn.role == "assistant" and turn.learnt)
            builder.begin_content(piece)
            turn.content(builder)

    @staticmethod
    def _piece_behind(turn: Turn, piece: TemplatePiece) -> TemplatePiece:
        """The piece that ends a turn: of one that is not learnt, its end is not either."""
        return piece if turn.learnt else dataclasses.replace(piece, num_trained=0)

    def surface(self, ids: Seq[int]) -> str:
        """Ids of a template, of markers or units, as their tokens spell them."""
        return surface(self._tokenizer, ids)

    def span_texts(self, sequence: Sequence) -> list[tuple[Span, str]]:
        """Every span with what it says: text, ``<12>`` for units, markers and control tokens by their surface."""
        texts: list[tuple[Span, str]] = []
        previous = "template"
        for span in sequence.spans:
            ids = sequence.ids[span.start : span.stop].tolist()
            if span.modality == "text":
                follows = previous == "marker"
                text = self.encoder.decode_continuation(ids) if follows else self.encoder.decode(ids)
            else:
                text = self.surface(ids)
            texts.append((span, text))
            previous = span.modality
        return texts

    def render(self, sequence: Sequence) -> str:
        """The sequence as one string for a reader, as the paper prints it: ``Mira<sosp><12><7><eosp>.``"""
        return "".join(text for _, text in self.span_texts(sequence))


def _nothing(builder: SequenceBuilder) -> None:
    """The content of a reply that is still to come."""
