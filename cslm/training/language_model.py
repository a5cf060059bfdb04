"""Training a causal language model on text and units: what ``pretrain`` and ``finetune`` share."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cslm.batches.held_out import HeldOut
from cslm.batches.read_ahead import read_ahead
from cslm.codecs.families import card_centroids
from cslm.errors import UserError
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.backbone import build_model, model_shape
from cslm.model.checkpoint import save_checkpoint
from cslm.model.compiled_layers import compile_layers
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.document_probe import check_documents
from cslm.model.extension import (
    CODEC_CENTROIDS,
    INITIALISATIONS,
    add_marker_rows,
    end_documents_with,
    extend_model,
    num_embeddings,
    replace_text_rows,
)
from cslm.model.lora import add_lora, merge_lora
from cslm.model.loss import LanguageModelLoss
from cslm.model.positions import check_length
from cslm.model.reopened_tokenizer import check_reopens
from cslm.training.engine import preparation, runs_on_cpu, start_processes, wait_for_all
from cslm.training.language_model_config import LanguageModelConfig, RunPaths
from cslm.training.loader_workers import loader_workers
from cslm.training.loop import is_finished, train
from cslm.training.row_training import RowTraining
from cslm.training.run_claim import claim
from cslm.training.run_data import RunData, decoder_folder, open_data
from cslm.training.run_folder import check_output
from cslm.training.speech_side import SpeechSide
from cslm.training.validation import Validator

_OF_NEW_ROWS = ("initialisation", "untie_head")


def train_language_model(config: LanguageModelConfig, decoder: str | None = None) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Args:
        decoder: a speech decoder's folder, which goes into the checkpoint; None keeps the base's own.

    Raises:
        UserError: an output folder of another run, or one that is in use; parts that do not belong together; a file
            that is missing; a backbone that cannot learn from these rows.
    """
    paths = RunPaths(config)
    check_output(paths.output, config)
    if is_finished(paths.output, config.training):
        print(f"{paths.output}: already finished; delete the folder to train again, or raise max_tokens", flush=True)
        return
    start_processes(config.training.device.num_threads)
    wait_for_all()
    check_base(config, paths)
    with claim(paths.output, config):
        _train(config, paths, decoder)


def check_base(config: LanguageModelConfig, paths: RunPaths) -> None:
    """What can be told of the backbone before any data are read.

    Raises:
        UserError: no such base or architecture, or one that has too few positions.
    """
    shape = model_shape(dataclasses.replace(config.model, base=paths.base, revision=None))
    name = str(config.model.base or f"model.architecture ({shape.model_type})")
    check_length(shape, config.training.max_length, config.training.data.pack, name)


def _train(config: LanguageModelConfig, paths: RunPaths, decoder: str | None) -> None:
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    with preparation():
        data = open_data(config, rank, int(os.environ["LOCAL_RANK"]))
        voice = decoder_folder(paths, decoder, data.speech)
        model = build_run_model(config, data)
    apart = row_training(config, model, data.speech)
    if rank == 0:
        _tell(config, model, data.held_out)

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        speech = data.speech
        save_checkpoint(
            model,
            data.tokenizer,
            folder,
            merge_lora(model, {name.removeprefix("model."): value for name, value in weights.items()}),
            speech=speech.section() if speech else None,
            card=speech.card.path if speech and speech.card else None,
            decoder=voice,
            end_of_turn=None if data.form.is_textless else data.form.chat.end_of_turn_ids[-1],
        )

    validator = None
    if config.validation is not None and data.held_out is not None:
        held_out = data.held_out.rows(rank, world_size)
        validator = Validator(config.validation, held_out, data.stream.groups, paths.output, save)
    with read_ahead(data.stream, loader_workers(config.training)) as stream:
        module = LanguageModelLoss(model, len(stream.groups), config.training.device.loss_kernel)
        train(module, stream, config.training, paths.output, save, apart, validator, data.made_of)


def build_run_model(config: LanguageModelConfig, data: RunData) -> PreTrainedModel:
    """The model of a run before its first step, with rows for new units.

    Raises:
        UserError: no such base or architecture, or a base that does not fit its tokenizer.
    """
    tokenizer, speech = data.tokenizer, data.speech
    backbone = dataclasses.replace(config.model, base=RunPaths(config).base_folder(weights=True), revision=None)
    training, seed = config.training, config.training.seed
    model = build_model(backbone, tokenizer, seed)
    if config.model.base is None and torch.distributed.get_rank() == 0:
        check_reopens(tokenizer, model.config)
    _check_new_rows(config, speech)
    if speech is not None:
        _add_rows(config, model, speech)
    num_rows = num_embeddings(model)
    if num_rows < len(tokenizer):
        raise UserError(f"{backbone.base} has {num_rows} rows, but its tokenizer {len(tokenizer)} ids: they do not fit")
    if config.lora is not None:
        add_lora(model, config.lora, seed)
    if runs_on_cpu() and training.device.zero_stage < 3 and not training.device.compile:
        use_cpu_layers(model)
    told = check_documents(model, training.data.pack)
    if told is not None and torch.distributed.get_rank() == 0:
        print(told, flush=True)
    if training.device.compile:
        compile_layers(model)
    if training.device.gradient_checkpointing:
        checkpoint_activations(model)
    return model


def _add_rows(config: LanguageModelConfig, model: PreTrainedModel, speech: SpeechSide) -> None:
    """Rows for what the vocabulary has and the model has not."""
    vocabulary, seed = speech.vocabulary, config.training.seed
    if speech.is_new:
        drawn = (config.initialisation, seed, config.untie_head, _centroids(config.initialisation, speech))
        if vocabulary.is_textless:
            replace_text_rows(model, vocabulary, speech.num_replaced_ids, *drawn)
        else:
            extend_model(model, vocabulary, *drawn)
    elif not vocabulary.is_textless:
        add_marker_rows(model, vocabulary, seed)
    if vocabulary.end_of_document is not None and (speech.is_new or config.model.base is None):
        end_documents_with(model, vocabulary.end_of_document)


def _check_new_rows(config: LanguageModelConfig, speech: SpeechSide | None) -> None:
    """Make sure that what is asked of new rows is asked where there are some."""
    if speech is not None and speech.is_new:
        return
    for setting in dataclasses.fields(LanguageModelConfig):
        value = getattr(config, setting.name)
        if setting.name in _OF_NEW_ROWS and value != setting.default:
            raise UserError(f"{setting.name} is {value}, and this run adds no units to its base: leave it out")


def _tell(config: LanguageModelConfig, model: PreTrainedModel, held_out: HeldOut | None) -> None:
    """What the configuration does not say in numbers."""
    if config.lora is not None:
        counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False)]
        print("LoRA: {:,} of {:,} parameters are trainable".format(*counts), flush=True)
    if config.validation is not None and held_out is not None:
        print(f"validation: {len(held_out):,} held-out documents every {config.validation.eval_steps} steps")
        for what, count in held_out.notes.items():
            print(f"{what}: {count:,}", flush=True)


def _centroids(initialisation: str, speech: SpeechSide) -> list[Tensor]:
    """The codec's tables, where units start from them."""
    if initialisation != CODEC_CENTROIDS:
        return []
    assert speech.card is not None, "units are new only with a card"
    try:
        return [torch.from_numpy(table) for table in card_centroids(speech.card)]
    except UserError as error:
        others = ", ".join(name for name in INITIALISATIONS if name != CODEC_CENTROIDS)
        raise UserError(f"initialisation {CODEC_CENTROIDS}: {error}; choose another: {others}") from error


def row_training(config: LanguageModelConfig, model: PreTrainedModel, speech: SpeechSide | None) -> RowTraining | None:
    """The rows that learn apart from all else, or None.

    Raises:
        UserError: a run without units asks for them.
    """
    steps, always = config.rows_first_steps, config.lora is not None and config.lora.train_rows == "new"
    if steps == 0 and not always:
        return None
    key = "rows_first_steps" if steps else "lora.train_rows new"
    if speech is None:
        raise UserError(
            f"{key}: this run has no units, so no new rows: set rows_first_steps 0 and lora.train_rows none"
        )
    return RowTraining(model, speech.vocabulary.num_text_ids, steps, always)
