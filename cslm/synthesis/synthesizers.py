"""Speech behind one interface: which synthesizers there are, and how a configuration opens one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from cslm.audio.clip import Clip
from cslm.chosen_section import open_chosen
from cslm.synthesis.failure import Failure
from cslm.synthesis.synthesizer_config import SynthesizerConfig

# Section of SynthesizerConfig -> "module:Class", a ``SpeechSynthesizer`` made from the section. Imported when used.
SYNTHESIZERS = {
    "espeak": "cslm.synthesis.espeak_voices:EspeakVoices",
    "vits": "cslm.synthesis.vits_voices:VitsVoices",
    "speecht5": "cslm.synthesis.speecht5_voices:SpeechT5Voices",
    "endpoint": "cslm.synthesis.endpoint_voices:EndpointVoices",
}


class SpeechSynthesizer(Protocol):
    """What says texts in voices that have names."""

    @property
    def names_are_speakers(self) -> bool:
        """Whether a voice of one name is one speaker in every language."""

    def voices(self, language: str) -> list[str]:
        """Names of the voices of a language, in an order that does not change.

        Raises:
            UserError: it does not speak the language, and what to do.
        """

    def facts(self, language: str, voice: str) -> dict[str, Any]:
        """All that decides the samples besides the text, as plain values; no path, host or time.

        Raises:
            UserError: it does not speak the language, or has no such voice for it.
        """

    def speak(self, texts: Sequence[str], language: str, voice: str) -> Iterable[Clip | Failure]:
        """Say each text on its own, in order, each as soon as it is said, so that it can be kept.

        A clip is ``(waveform (num_samples,) float32 in [-1, 1], sample_rate_hz)``. A text gives the same samples
        whatever else is said before, after or beside it. What cannot be said is a ``Failure``, which says why.

        Args:
            texts: one utterance each.
            language: BCP 47 language of the texts.
            voice: one of ``voices(language)``.

        Raises:
            UserError: an unknown language or voice, or its model or endpoint cannot be used at all.
        """


if TYPE_CHECKING:  # so that mypy holds each of them to the contract
    from cslm.synthesis.endpoint_voices import EndpointVoices
    from cslm.synthesis.espeak_voices import EspeakVoices
    from cslm.synthesis.speecht5_voices import SpeechT5Voices
    from cslm.synthesis.vits_voices import VitsVoices

    _ALL: list[type[SpeechSynthesizer]] = [EspeakVoices, VitsVoices, SpeechT5Voices, EndpointVoices]


def open_synthesizer(config: SynthesizerConfig) -> SpeechSynthesizer:
    """The synthesizer whose section is given.

    Raises:
        UserError: none or several are given, or what it names is not there.
        MissingExtraError: its package is not installed.
    """
    return cast(SpeechSynthesizer, open_chosen(config, "synthesizer", SYNTHESIZERS))
