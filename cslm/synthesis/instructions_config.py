"""What the maker of spoken instructions can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cslm.corpora.instruction_pairs import InstructionPairsConfig
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.synthesis.cleaning import CleaningConfig
from cslm.synthesis.listener_config import ListenerConfig
from cslm.synthesis.recordings import RecordingConfig
from cslm.synthesis.synthesizer_config import SynthesizerConfig
from cslm.synthesis.telling import TellingConfig
from cslm.synthesis.translation_filters import TranslationFilters
from cslm.synthesis.translator_config import TranslatorConfig


@dataclass
class SpokenInstructionsConfig:
    """Which pairs, into which languages, by what they are translated, spoken and heard."""

    HOW_IT_RUNS: ClassVar[tuple[str, ...]] = (*TellingConfig.HOW_IT_RUNS, "listener.asr.device")
    """settings that do not decide the corpus: a run goes on with others"""

    pairs: InstructionPairsConfig
    """the written pairs, in the core language"""
    translator: TranslatorConfig
    """what translates"""
    synthesizer: SynthesizerConfig
    """what speaks"""
    listener: ListenerConfig = field(default_factory=ListenerConfig)
    """what hears whether it was said right; without one every recording is kept"""
    languages: list[str] = field(default_factory=lambda: ["ja", "de", "fr"])
    """BCP 47 languages that are spoken"""
    core_language: str = "en"
    """BCP 47 language of the pairs"""
    cleaning: CleaningConfig = field(default_factory=CleaningConfig)
    """what of the pairs can be spoken"""
    filters: TranslationFilters = field(default_factory=TranslationFilters)
    """which translations are none"""
    recordings: RecordingConfig = field(default_factory=RecordingConfig)
    """which recordings are none"""
    voices: dict[str, list[str]] = field(default_factory=dict)
    """language to the voices that ask; default: all that the synthesizer has"""
    renderings: int = 1
    """every question is asked by so many of them, drawn by the seed"""
    speak_answers: bool = False
    """the answers are spoken too"""
    answer_voices: dict[str, str] = field(default_factory=dict)
    """language to the voice that answers; default: the first that the synthesizer has"""
    max_error_rate: float = 0.1
    """a recording is kept where the listener's error rate is no more: of characters in a language that is written
    without spaces, else of words"""
    max_pairs: int | None = None
    """no more than so many pairs of those that can be spoken"""
    num_test: int = 0
    """so many pairs, drawn by the seed, are for tests, in all languages; no others are"""
    seed: int = 0
    """draws the voices and the test"""
    max_rejected_share: float = 1.0
    """where a larger share is left out, the command ends with status 2; the others are written"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: no language or one twice, voices of another language, or a number out of range, by name.
        """
        tags = [language_tag(language) for language in self.languages]
        if not tags or len(set(tags)) < len(tags) or language_tag(self.core_language) in tags:
            raise UserError(f"languages is {', '.join(tags) or 'empty'}: name each once, and not the core language")
        for name in ("voices", "answer_voices"):
            others = [language for language in getattr(self, name) if language_tag(language) not in tags]
            if others:
                raise UserError(f"{name}: {others[0]} is none of the languages ({', '.join(tags)})")
        if self.answer_voices and not self.speak_answers:
            raise UserError("answer_voices: no answer is spoken; give speak_answers too, or leave them out")
        check_numbers(
            self, "", renderings=Range(least=1), max_error_rate=Range(least=0), max_pairs=Range(least=1),
            num_test=Range(least=0),
        )  # fmt: skip
