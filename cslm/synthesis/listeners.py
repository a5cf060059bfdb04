"""Hearing behind one interface: which listeners check what was spoken, and how a configuration opens one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from cslm.chosen_section import open_chosen
from cslm.evaluation.recognizers import Clip
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import ListenerConfig

# Section of ListenerConfig -> "module:Class", a ``Listener`` made from the section. Imported only when used.
LISTENERS = {
    "asr": "cslm.synthesis.asr_listener:AsrListener",
    "pocketsphinx": "cslm.synthesis.pocketsphinx_listener:PocketSphinxListener",
}


class Listener(Protocol):
    """What turns clips into text."""

    def facts(self, language: str) -> dict[str, Any]:
        """All that decides what it hears besides the samples, as plain values; no path, host or time.

        Raises:
            UserError: it does not hear the language, and what to do.
        """

    def hear(self, clips: Sequence[Clip], language: str) -> list[str | Failure]:
        """The text of each clip, or why it has none. The same clips in the same call give the same texts.

        Args:
            clips: ``(waveform (num_samples,) float32 in [-1, 1], sample_rate_hz)``.
            language: BCP 47 language that is spoken in all of them.

        Raises:
            UserError: it does not hear the language.
        """


if TYPE_CHECKING:  # so that mypy holds each of them to the contract
    from cslm.synthesis.asr_listener import AsrListener
    from cslm.synthesis.pocketsphinx_listener import PocketSphinxListener

    _ALL: list[type[Listener]] = [AsrListener, PocketSphinxListener]


def open_listener(config: ListenerConfig) -> Listener:
    """The listener whose section is given.

    Raises:
        UserError: none or several are given, or what it names is not there.
        MissingExtraError: its package is not installed.
    """
    return cast(Listener, open_chosen(config, "listener", LISTENERS))
