"""The configuration of a run of ``pretrain`` or ``finetune``, and where its paths lead."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cslm.batches.sources import SourceConfig
from cslm.batches.weights import CapsConfig
from cslm.errors import UserError
from cslm.model.backbone import ModelConfig
from cslm.model.checkpoint import check_holds_model
from cslm.model.extension import INITIALISATIONS
from cslm.model.local_folder import local_folder
from cslm.model.lora import LoraOptions
from cslm.ranges import Range, check_numbers
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
    always: list[str] = field(default_factory=list)
    """texts without spaces that are one id each, whether ``texts`` hold them or not: an ellipsis, say"""


@dataclass
class RunConfig:
    """What all runs of a language model on documents are told. Relative paths are looked up from ``data_root``."""

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
    chat_template: str | None = None
    """file with a chat template (Jinja) for conversations, kept in what is written; null keeps the base's own"""
    caps: CapsConfig | None = None
    """highest shares of languages and tasks in the tokens"""
    validation: ValidationConfig | None = None
    """a held-out part of every source and how often to look at it; null holds nothing out"""
    lora: LoraOptions | None = None
    """train small matrices beside frozen layers (LoRA); null trains everything; what is written is merged"""


@dataclass
class LanguageModelConfig(RunConfig):
    """One run of ``pretrain`` or ``finetune``. Relative paths are looked up from ``data_root``."""

    text_tokenizer: TextTokenizerConfig | None = None
    """for a model from scratch; a base brings its own"""
    tokenizer_card: str | None = None
    """card of the speech tokenizer, path or name; null takes the base's, or learns text alone"""
    initialisation: str = "mean_and_covariance"
    """where new units start: mean_and_covariance of the text rows, mean, normal, hugging_face, codec_centroids"""
    untie_head: bool = False
    """with new units: a base whose head shares its embeddings gets a head of its own, and learns to hear sooner"""
    rows_first_steps: int = 0
    """for so many steps only the rows of units and markers in embedding and head learn, and nothing else moves"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, or settings that contradict each other, by name.
        """
        self.model.check()
        if self.model.base is not None and self.text_tokenizer is not None:
            raise UserError("text_tokenizer is only for a model from scratch: model.base brings its own")
        if self.model.textless:
            self._check_textless()
        if self.lora is not None:
            self.lora.check()
        if self.validation is not None:
            self.validation.check()
        check_numbers(self, "", rows_first_steps=Range(least=0))
        if self.initialisation not in INITIALISATIONS:
            raise UserError(f"initialisation is {self.initialisation!r}: choose one of {', '.join(INITIALISATIONS)}")
        if self.model.dtype != "float32" and self.training.device.precision == "fp32":
            raise UserError(
                f"model.dtype is {self.model.dtype} and training.device.precision fp32, so weights would be updated in "
                f"{self.model.dtype}, which rounds small updates away: set model.dtype float32, or precision bf16, "
                "which keeps float32 copies"
            )
        if self.rows_first_steps and self.lora is not None and self.lora.train_rows == "none":
            raise UserError(f"rows_first_steps is {self.rows_first_steps}, and lora.train_rows none freezes the rows")

    def _check_textless(self) -> None:
        """Make sure that a model without text is asked for none; its sources are checked where they are opened."""
        for key in ("text_tokenizer", "chat_template"):
            if getattr(self, key) is not None:
                raise UserError(f"{key} is given, and model.textless is true, a model without any text: leave it out")


@dataclass
class FinetuneConfig(LanguageModelConfig):
    """One fine-tuning run; ``model.base`` is a checkpoint of ``pretrain``."""

    decoder: str | None = None
    """folder of a speech decoder (train-decoder), put into the checkpoint, which then speaks wherever it is taken; null
    keeps the base's own, if it has one"""


class RunPaths:
    """The configuration's paths, looked up from its data root."""

    def __init__(self, config: RunConfig) -> None:
        """Look nothing up yet but the root and the card.

        Raises:
            UserError: the root is no folder.
        """
        self.root = Path(config.data_root)
        if not self.root.is_dir():
            raise UserError(f"data_root is {self.root}: there is no such folder, looked for {self.root.absolute()}")
        self.output = self.locate(config.output)
        card = config.tokenizer_card if isinstance(config, LanguageModelConfig) else None
        self.card = self.existing(card) if card is not None else None
        self._model = config.model

    @cached_property
    def base(self) -> str | None:
        """The folder of the base, for its tokenizer, its card and its configuration; None from scratch.

        A model of the Hub is downloaded without its weights, unless they are there.

        Raises:
            UserError: no such folder or model, or one that holds no model.
        """
        return self.base_folder(weights=False)

    def base_folder(self, weights: bool) -> str | None:
        """The same, with its weights where they are asked for."""
        name, revision = self._model.base, self._model.revision
        if name is None:
            return None
        located = self.locate(name)
        if revision is not None and located.exists():
            raise UserError(f"model.revision is {revision!r}, and model.base the folder {located}: leave revision out")
        folder = local_folder(located if located.exists() else name, revision, weights, located)
        check_holds_model(folder)
        return str(folder)

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
            raise UserError(f"{path}: there is no such file, looked for {path.absolute()}")
        return path
