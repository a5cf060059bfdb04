"""``train-prompt``: a connector that lets a frozen language model hear (LAD, MTBI, and their relatives).

Encoder and language model stay as they are. They have no gradients and no states of an optimizer, and are not in the
checkpoints to resume from nor in the model that is written.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from cslm.batches.held_out import HeldOut
from cslm.batches.read_ahead import read_ahead
from cslm.configuration import parse_configuration
from cslm.corpora.languages import language_tag
from cslm.encoders.encoders import source_of, with_source
from cslm.encoders.runtime import make_runtime
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.backbone import model_shape
from cslm.model.document_probe import check_documents
from cslm.model.positions import check_length
from cslm.model.speech_prompt.connectors import located, settled
from cslm.model.speech_prompt.prompt_checkpoint import save_prompt, start_from
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.model.speech_prompt.prompt_parts import PromptParts, open_parts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import trained_names
from cslm.training.engine import preparation, runs_on_cpu, start_processes, wait_for_all
from cslm.training.language_model_config import RunPaths
from cslm.training.loader_workers import loader_workers
from cslm.training.loop import is_finished, train
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.run_claim import claim
from cslm.training.run_data import RunData, open_format, open_sequences
from cslm.training.run_folder import check_output, has_steps, settings_that_moved
from cslm.training.validation import Validator

_BATCH_SEC = {"cpu": 20.0, "other": 240.0}
"""of audio that the encoder takes together"""


def train_prompt(config: TrainPromptConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Raises:
        UserError: an output folder of another run, or one that is in use; parts that do not belong together; a file
            that is missing; a language model that cannot learn from these rows.
    """
    paths = RunPaths(config)
    check_output(paths.output, config)
    if is_finished(paths.output, config.training):
        print(f"{paths.output}: already finished; delete the folder to train again, or raise max_tokens", flush=True)
        return
    open_losses(config.losses)  # what they refuse is said before anything is opened
    moved = settings_that_moved(paths.output, config) if has_steps(paths.output) else []
    rank, _ = start_processes(config.training.device.num_threads)
    for line in moved if rank == 0 else ():
        print(f"goes on with its own connector and the same frozen parts: {line}", flush=True)
    wait_for_all()
    shape = model_shape(replace(config.model, base=paths.base, revision=None))
    check_length(shape, config.training.max_length, config.training.data.pack, str(config.model.base))
    with claim(paths.output, config):
        with preparation():
            settings, parts = open_run_parts(config, paths)
            data = open_prompt_data(config, paths, parts, torch.distributed.get_rank(), int(os.environ["LOCAL_RANK"]))
        _train(config, paths, settings, parts, data, prompt_objective(config, parts, data))


def main(arguments: list[str]) -> None:
    """``train-prompt --config YAML [--section.key value ...]``"""
    train_prompt(parse_configuration(TrainPromptConfig, arguments, "train-prompt"))


def open_run_parts(config: TrainPromptConfig, paths: RunPaths) -> tuple[PromptSettings, PromptParts]:
    """What a run trains and what it leaves as it is; the settings are those of its checkpoint, with paths from here.

    Raises:
        UserError: as :func:`~cslm.model.speech_prompt.prompt_parts.open_parts`; rows that the language model cannot
            keep apart.
    """
    device = "cpu" if runs_on_cpu() else "auto"
    runtime = make_runtime(device, _BATCH_SEC["cpu" if runs_on_cpu() else "other"])
    settings = prompt_settings(config, paths)
    folder = paths.base_folder(weights=True)
    assert folder is not None, "a base is needed"
    parts = open_parts(settings, folder, runtime, config.model.attention, config.training.seed)
    if config.start is not None:
        start_from(parts, settings, paths.locate(config.start))
    settings = replace(settings, connector=settled(settings.connector, parts.prompt.connector))
    llm = parts.prompt.llm
    told = check_documents(llm, config.training.data.pack)
    if told is not None and torch.distributed.get_rank() == 0:
        print(told, flush=True)
    if config.training.device.gradient_checkpointing:
        checkpoint_activations(llm)
    return settings, parts


def prompt_settings(config: TrainPromptConfig, paths: RunPaths) -> PromptSettings:
    """What a checkpoint of this run keeps, with paths from here."""
    source, _ = source_of(config.encoder)
    encoder = with_source(config.encoder, paths.existing(source)) if source else config.encoder
    languages = list(dict.fromkeys(language_tag(language) for language in config.languages))
    connector = located(config.connector, paths.existing)
    return PromptSettings(
        encoder, connector, config.long_audio, languages, paths.existing(str(config.model.base)),
        config.model.revision, config.model.dtype, config.lora,
    )  # fmt: skip


def prompt_objective(config: TrainPromptConfig, parts: PromptParts, data: RunData) -> PromptObjective:
    """The trained module of a run."""
    encoder, losses, kernel = parts.prompt.encoder, open_losses(config.losses), config.training.device.loss_kernel
    assert encoder is not None, "a run has an encoder"
    return PromptObjective(parts.prompt, losses, len(data.stream.groups), encoder.dims, kernel)


def open_prompt_data(
    config: TrainPromptConfig,
    paths: RunPaths,
    parts: PromptParts,
    rank: int = 0,
    local_rank: int = 0,
    scratch: Path | None = None,
) -> RunData:
    """The data of a run; arguments and errors as of :func:`~cslm.training.run_data.open_data`."""
    form = open_format(config, paths, parts.tokenizer).hearing_by(parts.hearing)
    return open_sequences(config, parts.tokenizer, None, form, rank, local_rank, scratch)


def _train(
    config: TrainPromptConfig,
    paths: RunPaths,
    settings: PromptSettings,
    parts: PromptParts,
    data: RunData,
    module: PromptObjective,
) -> None:
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    names = trained_names(parts.prompt)

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        trained = {name: weights[f"prompt.{name}"] for name in names}
        save_prompt(settings, data.tokenizer, parts.hashes, trained, folder)

    validator = None
    if config.validation is not None and data.held_out is not None:
        held_out = data.held_out.rows(rank, world_size)
        validator = Validator(config.validation, held_out, data.stream.groups, paths.output, save)
    if rank == 0:
        _tell(parts, data.held_out)
    made_of = data.made_of
    frozen = ", ".join(f"{name} {value}" for name, value in parts.hashes.items())
    made_of = made_of._replace(vocabulary=f"{made_of.vocabulary}, {frozen}")
    with read_ahead(data.stream, loader_workers(config.training)) as stream:
        train(module, stream, config.training, paths.output, save, None, validator, made_of)


def _tell(parts: PromptParts, held_out: HeldOut | None) -> None:
    """What the configuration does not say in numbers."""
    parameters = list(parts.prompt.parameters())
    learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in parameters)
    print(f"{learning:,} parameters learn, {total - learning:,} of the language model are frozen", flush=True)
    for what, count in ({} if held_out is None else held_out.notes).items():
        print(f"{what}: {count:,}", flush=True)
