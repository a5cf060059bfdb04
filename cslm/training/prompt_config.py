"""The configuration of a run of ``train-prompt``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from cslm.encoders.encoder_config import EncoderConfig, LongAudioConfig
from cslm.errors import UserError
from cslm.model.lora import LoraOptions
from cslm.model.speech_prompt.connector_config import ConnectorConfig
from cslm.model.speech_prompt.prompt_losses_config import PromptLossesConfig
from cslm.sequences.tasks import TASKS
from cslm.training.distillation_checks import check_distillation
from cslm.training.language_model_config import RunConfig

_OF_UNITS = ("textless", "merge_repeats", "architecture")


@dataclass
class TrainPromptConfig(RunConfig):
    """One run of ``train-prompt``: a connector between a frozen encoder and a frozen language model, ``model.base``."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """the frozen encoder that hears"""
    connector: ConnectorConfig = field(default_factory=ConnectorConfig)
    """what learns"""
    losses: PromptLossesConfig = field(default_factory=PromptLossesConfig)
    """what it learns by; at least one is given"""
    long_audio: LongAudioConfig = field(default_factory=LongAudioConfig)
    """recordings that are longer than the encoder takes at once"""
    languages: list[str] = field(default_factory=list)
    """tags of the languages that a connector with a gate tells apart"""
    MAY_MOVE: ClassVar[tuple[str, ...]] = (
        "model.base", "model.revision", "connector.query_bank.whisper", "connector.query_bank.revision",
        "encoder.whisper.model", "encoder.whisper.revision", "encoder.ssl.model", "encoder.ssl.revision",
        "encoder.fairseq2.checkpoint",
    )  # fmt: skip
    """keys that may differ when a run is resumed, and are told then: frozen parts are known by their hashes, wherever
    they lie now, and the weights that a connector begins with are not read again"""
    start: str | None = None
    """folder of a run of train-prompt whose connector, and LoRA, this one starts from; null begins anew"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range or none of the choices, or settings that contradict each other, by name.
        """
        check_distillation(self.connector, self.losses, self.sources)
        self.model.check()
        if self.model.base is None:
            raise UserError("train-prompt needs model.base: a causal language model, which stays as it is")
        for key in _OF_UNITS:
            if getattr(self.model, key):
                raise UserError(f"model.{key} is given, and train-prompt trains no language model: leave it out")
        self._check_sources()
        if self.validation is not None:
            self.validation.check()
        if self.lora is not None:
            self._check_lora(self.lora)
        if self.losses.imitation_kl is not None and all(it.task != "audio_imitation" for it in self.sources.values()):
            raise UserError(
                "losses.imitation_kl is given, and no source imitates: give one of the task audio_imitation"
            )
        training = self.training
        if training.device.compile:
            raise UserError("training.device.compile is not for train-prompt: leave it out")
        if training.optimizer.embedding_rate != 1:
            raise UserError("training.optimizer.embedding_rate is given, and embeddings are frozen: leave it out")

    def _check_sources(self) -> None:
        tasks = [TASKS[source.task] for source in self.sources.values() if source.task in TASKS]
        if tasks and self.lora is None and not any("manifest" in task.reads for task in tasks):
            raise UserError(
                "sources: none of them hears a recording, so that the connector learns nothing: add one with a "
                "manifest (audio_asr, audio_dialogue, audio_imitation, audio_distillation)"
            )

    def _check_lora(self, lora: LoraOptions) -> None:
        lora.check()
        if lora.train_rows == "all":
            raise UserError("lora.train_rows is all, and the rows of text stay as they are: leave it out")
        self.lora = replace(lora, train_rows="none")
        if self.model.dtype != "float32" and self.training.device.precision == "fp32":
            raise UserError(
                f"model.dtype is {self.model.dtype} and training.device.precision fp32, so LoRA would be updated in "
                f"{self.model.dtype}: set model.dtype float32, or precision bf16, which keeps float32 copies"
            )
