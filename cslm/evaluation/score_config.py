"""What ``score`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig

CUTS = ("chunk", "answer")


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
class ScoreConfig:
    """One checkpoint on some test sets; a set that is not named is not scored.

    Relative paths of sets, decoder, card and stages start from ``data_root``; checkpoint and output stand as they are.
    """

    checkpoint: str
    """folder of the checkpoint"""
    output: str
    """results.json to write; replies.jsonl and the folder replies/ come beside it"""
    data_root: str = "."
    """folder that the relative paths of test sets, decoder and card start from"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the checkpoint's own"""
    decoder: str | None = None
    """folder of the speech decoder; null takes the checkpoint's own"""
    asr_test: str | None = None
    """manifest: speech to transcribe, scored by language"""
    asr_unheard_voice: str | None = None
    """manifest: the same, in a voice that training never heard"""
    asr_sets: dict[str, str] = field(default_factory=dict)
    """more manifests to transcribe, each of one language, by the name that results give them"""
    tts_test: str | None = None
    """manifest: texts to speak, with the synthesizer's own audio of them"""
    dialogue_test: str | None = None
    """manifest: spoken questions"""
    test_dialogues: str | None = None
    """JSON Lines: which question is to be answered in which language, and the facts of a right answer"""
    other_ear: OtherEarConfig | None = None
    """another recognizer; null leaves its scores out"""
    max_items: int | None = None
    """score so many items of each set and language or direction at most, spread over the set; null scores all"""
    asr: DecodingConfig = field(default_factory=lambda: DecodingConfig(max_new_tokens=256))
    """how transcripts are decoded"""
    tts: DecodingConfig = field(default_factory=lambda: DecodingConfig(max_new_tokens=1024))
    """how speech of a text is decoded"""
    dialogue: DecodingConfig = field(default_factory=DecodingConfig)
    """how answers are decoded"""
    recognize_by: str = "chunk"
    """a spoken answer is heard chunk by chunk, as it would be played while it is written; or whole: answer"""
    stages: str | None = None
    """folder of STAGE.json files with `seconds`, put into the results"""
    seed: int = 0
    """for the bootstrap, and for decoding that draws"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.recognize_by not in CUTS:
            raise UserError(f"recognize_by is {self.recognize_by!r}: choose one of {', '.join(CUTS)}")
        if (self.dialogue_test is None) != (self.test_dialogues is None):
            raise UserError("dialogue_test and test_dialogues (what to answer) belong together: give both")
        if self.max_items is not None and self.max_items < 1:
            raise UserError(f"max_items is {self.max_items}: it must be at least 1")
