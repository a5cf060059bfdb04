"""The configuration of a run of ``pretrain`` or ``finetune``, and where its paths lead."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cslm.batches.sources import SourceConfig
from cslm.batches.weights import CapsConfig
from cslm.errors import UserError
from cslm.model.backbone import ModelConfig
from cslm.model.lora import LoraOptions
from cslm.training.training_config import TrainingConfig
from cslm.training.validation import ValidationConfig


@dataclass
class TextTokenizerConfig:
    """The text tokenizer of a model from scratch."""

    vocab_size: int
    """ids in all, bytes and special tokens included"""
    texts: list[str]
    """JSON Lines or plain text files to fit it on"""
    languages: list[str] = field(default_factory=lambda: ["en", "zh"])
    """the prompts of these languages are fitted too"""


@dataclass
class LanguageModelConfig:
    """One run of ``pretrain`` or ``finetune``. Relative paths are looked up from ``data_root``."""

    output: str
    """folder of the run: checkpoints, logs, and at the end the model"""
    sources: dict[str, SourceConfig]
    """what to learn from, by name; weights are shares of the tokens"""
    training: TrainingConfig
    """length, batches, optimizer, precision, logs"""
    model: ModelConfig
    """the backbone: a base checkpoint or an architecture"""
    data_root: str = "."
    """folder that relative paths start from"""
    text_tokenizer: TextTokenizerConfig | None = None
    """for a model from scratch; a base brings its own"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the base's, or learns text alone"""
    initialisation: str = "mean_and_covariance"
    """where rows of units start: mean_and_covariance of the text rows, mean, normal, hugging_face, codec_centroids"""
    chat_template: str | None = None
    """file with a chat template (Jinja) for conversations, kept in what is written; null keeps the base's own"""
    caps: CapsConfig | None = None
    """highest shares of languages and tasks in the tokens"""
    validation: ValidationConfig | None = None
    """a held-out part of every source and how often to look at it; null holds nothing out"""
    untie_head: bool = False
    """with new units: a base whose head shares its embeddings gets a head of its own, and learns to hear sooner"""
    lora: LoraOptions | None = None
    """train small matrices beside frozen layers (LoRA); null trains everything; what is written is merged"""
    rows_first_steps: int = 0
    """for so many steps only the rows of units and markers in embedding and head learn, and nothing else moves"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: ``rows_first_steps`` is negative or given for rows that are frozen, or LoRA as it cannot be.
        """
        if self.lora is not None:
            self.lora.check()
        if self.rows_first_steps < 0:
            raise UserError(f"rows_first_steps is {self.rows_first_steps}: it must be at least 0")
        if self.rows_first_steps and self.lora is not None and self.lora.train_rows == "none":
            raise UserError(f"rows_first_steps is {self.rows_first_steps}, and lora.train_rows none freezes the rows")


class RunPaths:
    """The configuration's paths, looked up from its data root."""

    def __init__(self, config: LanguageModelConfig) -> None:
        self.root = Path(config.data_root)
        self.output = self.locate(config.output)
        self.base = self.existing(config.model.base) if config.model.base is not None else None
        self.card = self.existing(config.tokenizer_card) if config.tokenizer_card is not None else None

    def locate(self, name: str) -> Path:
        """A path under the root; one that begins with the root already is left as it is."""
        return Path(name) if Path(name).is_relative_to(self.root) else self.root / name

    def existing(self, name: str) -> str:
        """A path under the root where there is one; else the name, which may be one of the Hub or of a shipped card."""
        return str(self.locate(name)) if self.locate(name).exists() else name

    def file(self, name: str) -> Path:
        """A file under the root.

        Raises:
            UserError: there is none.
        """
        path = self.locate(name)
        if not path.is_file():
            raise UserError(f"{path}: there is no such file")
        return path
