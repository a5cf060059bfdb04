"""Translation behind one interface: which translators there are, and how a configuration opens one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from cslm.chosen_section import open_chosen
from cslm.synthesis.failure import Failure
from cslm.synthesis.translator_config import TranslatorConfig

# Section of TranslatorConfig -> "module:Class", a ``Translator`` made from the section. Imported only when used.
TRANSLATORS = {
    "table": "cslm.synthesis.table_translator:TableTranslator",
    "seq2seq": "cslm.synthesis.seq2seq_translator:Seq2SeqTranslator",
    "chat": "cslm.synthesis.chat_translator:ChatTranslator",
}


class Translator(Protocol):
    """What turns texts of one language into texts of another."""

    def facts(self, source: str, target: str) -> dict[str, Any]:
        """All that decides the translations besides the texts, as plain values; no path, host or time.

        Raises:
            UserError: it does not translate from ``source`` into ``target``, and what to do.
        """

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | Failure]:
        """The translation of each text, or why it has none. The same texts in the same call give the same.

        Args:
            texts: sentences; none is empty.
            source: BCP 47 language of the texts.
            target: BCP 47 language that is wanted.

        Raises:
            UserError: it does not translate between the two, or its model or endpoint cannot be used at all.
        """


if TYPE_CHECKING:  # so that mypy holds each of them to the contract
    from cslm.synthesis.chat_translator import ChatTranslator
    from cslm.synthesis.seq2seq_translator import Seq2SeqTranslator
    from cslm.synthesis.table_translator import TableTranslator

    _ALL: list[type[Translator]] = [TableTranslator, Seq2SeqTranslator, ChatTranslator]


def open_translator(config: TranslatorConfig) -> Translator:
    """The translator whose section is given.

    Raises:
        UserError: none or several are given, or what it names is not there.
    """
    return cast(Translator, open_chosen(config, "translator", TRANSLATORS))
