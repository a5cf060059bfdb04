"""What ``score`` can be told apart from the settings of the scores themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from cslm.errors import UserError
from cslm.evaluation.audio_model_config import AudioModelConfig
from cslm.generation.decoding import DecodingConfig


@dataclass
class OtherEarConfig:
    """An ear that never met the model, for the languages that it knows."""

    sentences: list[str]
    """JSON Lines files with `text` and `language`: sentences of the kind to be heard, for its language model"""
    recognizer: str = "pocketsphinx"
    """which ear"""
    max_items: int | None = None
    """it hears so many answers of each direction at most; null hears all"""
    num_workers: int | None = None
    """processes; null takes one per core"""


@dataclass
class EarsConfig:
    """What listens to speech, for the scores that need to know what is heard in it."""

    own: DecodingConfig = field(default_factory=lambda: DecodingConfig(max_new_tokens=256))
    """the model's own ear: how its transcripts are decoded"""
    other: OtherEarConfig | None = None
    """another recognizer; null leaves its scores out"""


@dataclass
class ScoreConfig:
    """One checkpoint, some scores.

    Relative paths of test sets, decoder and card start from ``data_root``; checkpoint and output stand as they are.
    """

    FORMER_NAMES: ClassVar[dict[str, str]] = {
        "asr_test": "scores.asr.sets.test",
        "asr_unheard_voice": "scores.asr.sets.unheard_voice",
        "asr_sets": "scores.asr.sets",
        "tts_test": "scores.tts.manifest",
        "dialogue_test": "scores.dialogue.questions",
        "test_dialogues": "scores.dialogue.dialogues",
        "recognize_by": "scores.dialogue.recognize_by",
        "asr": "ears.own",
        "tts": "scores.tts.decoding",
        "dialogue": "scores.dialogue.decoding",
        "other_ear": "ears.other",
        "audio_model.device": "device",
    }
    """keys of before, and what they are called now"""

    checkpoint: str
    """folder of the checkpoint"""
    output: str
    """results.json to write; other files of the scores come beside it"""
    data_root: str = "."
    """folder that the relative paths of test sets, decoder and card start from"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the checkpoint's own"""
    decoder: str | None = None
    """folder of the speech decoder; null takes the checkpoint's own"""
    device: str = "auto"
    """where the model runs: cpu, cuda, cuda:1; auto is the first accelerator, else the CPU"""
    ears: EarsConfig = field(default_factory=EarsConfig)
    """what listens"""
    max_items: int | None = None
    """score so many items of each set and language or direction at most, spread over the set; null scores all"""
    audio_model: AudioModelConfig | None = None
    """the checkpoint is an audio-text model of transformers, of this class; null: it is one of ours"""
    seed: int = 0
    """for the bootstrap, and for decoding that draws"""
    scores: Any = None
    """the scores by name, each with its settings; one that is not named is not computed"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.max_items is not None and self.max_items < 1:
            raise UserError(f"max_items is {self.max_items}: it must be at least 1")
