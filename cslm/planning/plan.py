"""``plan``: what a run will need, before any of it is started; a run of ``train-prompt`` is :mod:`.plan_prompt`'s."""

from __future__ import annotations

import json as json_format
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from cslm.batches.parts import Part
from cslm.batches.sources import Source
from cslm.codecs.card import load_card
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.model.backbone import model_of_shape, model_shape
from cslm.model.document_probe import check_documents
from cslm.model.flops import model_flops
from cslm.model.lora import add_lora
from cslm.model.positions import check_length
from cslm.planning.activation_memory import ActivationMemory, activation_memory
from cslm.planning.machines import MachinesConfig, disk_facts
from cslm.planning.plan_prompt import plan_prompt_command
from cslm.planning.plan_table import print_plan
from cslm.planning.planned_data import SourcePlan, micro_batch, plan_sources, planned_accounts
from cslm.planning.planned_memory import ModelSize, stage_memory
from cslm.planning.prompt_runs import is_prompt_run
from cslm.sequences.vocabulary import SpeechVocabulary
from cslm.training.language_model_config import FinetuneConfig, RunPaths
from cslm.training.muon import inner_matrices
from cslm.training.run_data import (
    open_format,
    open_run_sources,
    open_text_tokenizer,
)
from cslm.training.run_folder import TEXT_TOKENIZER_FOLDER
from cslm.training.speech_side import SpeechSide, open_speech_side, open_textless_side, orders_of

_MOST_PROBED = 100_000_000  # parameters of a model that is made to be looked at


@dataclass
class PlanConfig(FinetuneConfig, MachinesConfig):
    """A run of ``pretrain`` or ``finetune`` and the machines that it would have."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        self.check_machines()
        super().__post_init__()


@dataclass(frozen=True)
class _Parts:
    """What the run would be made of."""

    shape: PretrainedConfig
    """of the model with its new rows"""
    num_text_rows: int
    """rows before the new ones"""
    sources: list[SourcePlan]
    """what the data is"""
    notes: list[str]
    """what could not be told, and why"""
    told: list[str]
    """what sources leave out, or read otherwise than it stands there"""


def plan(config: PlanConfig) -> dict[str, Any]:
    """What the run will read, how large its model is, what memory, disk and time it takes.

    Nothing is written and no weights are loaded; a small model is made, to measure what documents see. Sources, texts
    and cards that are missing are named in ``notes``, and what depends on them is left out or taken at its largest.

    Raises:
        UserError: a model that cannot be told or cannot learn from these rows, or sources without any weight.
    """
    parts = _open_parts(config)
    name = str(config.model.base or f"model.architecture ({parts.shape.model_type})")
    check_length(parts.shape, config.training.max_length, config.training.data.pack, name)
    with torch.device("meta"):
        model = model_of_shape(parts.shape, config.model.attention, torch.float32)
        if config.lora is not None:
            add_lora(model, config.lora)
    size = _size(model)
    _check_documents(config, parts, size)
    rows, tied = parts.shape.get_text_config().vocab_size, parts.shape.get_text_config().tie_word_embeddings
    new = (rows - parts.num_text_rows) * parts.shape.get_text_config().hidden_size * (1 if tied else 2)
    costs = model_flops(model)
    flops = None
    if costs is not None:
        length = config.training.max_length
        flops = round(sum(source.run_tokens * source.flops_per_token(costs, length) for source in parts.sources))
    return {
        "steps": config.training.last_step,
        "tokens": config.training.last_step * config.training.tokens_per_step,
        "sources": [_source_facts(source) for source in parts.sources],
        "accounts": planned_accounts(parts.sources),
        "parameters": size.all,
        "trained_parameters": size.trained,
        "new_rows": rows - parts.num_text_rows,
        "new_parameters": new,
        "memory": _memory(config, parts, size),
        "disk": disk_facts(config.training, size),
        "flops": flops,
        "hours": config.hours(flops, config.training.device),
        "told": parts.told,
        "notes": parts.notes,
    }


def main(arguments: list[str]) -> None:
    """``plan --config YAML --num_processes N [--gpu_memory_gib GIB] [--peak_tflops TFLOPS] [--key value ...]``"""
    if is_prompt_run(arguments, "plan"):
        plan_prompt_command(arguments)
        return
    config = parse_configuration(PlanConfig, arguments, "plan")
    found = plan(config)
    print_plan(found, config.training.device.zero_stage, config.gpu_memory_gib)
    if config.json is not None:
        write_atomically(Path(config.json), (json_format.dumps(found, indent=1) + "\n").encode())


def _open_parts(config: PlanConfig) -> _Parts:
    paths = RunPaths(config)
    notes: list[str] = []
    shape = model_shape(replace(config.model, base=paths.base))
    text = shape.get_text_config()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, speech = _open_tokenizer(config, paths, Path(folder), notes)
    if config.model.base is None:
        ids = len(tokenizer) if tokenizer is not None else _told_ids(config)
        text.vocab_size = -(-ids // 64) * 64
    rows = text.vocab_size
    vocabulary = speech.vocabulary if speech is not None and speech.is_new else None
    if speech is None and tokenizer is None and config.tokenizer_card is not None:
        vocabulary = _vocabulary_after(rows, paths, notes)
    if vocabulary is not None:
        rows = vocabulary.num_text_ids
        text.vocab_size = vocabulary.padded_size
        if config.untie_head:
            shape.tie_word_embeddings = text.tie_word_embeddings = False
    form = None if tokenizer is None else open_format(config, paths, tokenizer)

    def open_source(name: str) -> Source:
        assert form is not None
        wanted, length = {name: config.sources[name]}, config.training.max_length
        part = Part(config.validation.share if config.validation else 0.0)
        return open_run_sources(wanted, paths, form, speech, part, max_length=length)[name]

    sources = plan_sources(config.sources, config.training, open_source if form is not None else None, caps=config.caps)
    missing = [source for source in sources if source.missing is not None]
    notes += [f"{source.name}: {source.missing}" for source in missing]
    told = [f"the source {source.name}: {line}" for source in sources for line in source.told]
    if config.caps is not None and missing:
        notes.append("caps: they hang on all sources, so shares and epochs are those of the weights alone")
    return _Parts(shape, rows, sources, notes, told)


def _check_documents(config: PlanConfig, parts: _Parts, size: ModelSize) -> None:
    """Measure whether documents in a row stay apart, where a model of this shape is soon made; else say so."""
    if size.all > _MOST_PROBED:
        parts.notes.append("whether documents of a row stay apart: measured when the run starts")
        return
    with torch.random.fork_rng(devices=[]):
        model = model_of_shape(parts.shape, config.model.attention, torch.float32)
    told = check_documents(model, config.training.data.pack)
    if told is not None:
        parts.notes.append(told)


def _open_tokenizer(
    config: PlanConfig, paths: RunPaths, folder: Path, notes: list[str]
) -> tuple[PreTrainedTokenizerBase | None, SpeechSide | None]:
    """The text tokenizer, one from scratch fitted in ``folder``, and the units; None for what is not there.

    Raises:
        UserError: a textless model whose units cannot be told, for it has nothing else.
    """
    if config.model.textless:
        return open_textless_side(paths, config.model.merge_repeats)
    fitted = paths.output / TEXT_TOKENIZER_FOLDER
    try:
        tokenizer = open_text_tokenizer(config, paths, fitted if fitted.is_dir() else folder / fitted.name, rank=0)
    except UserError as error:
        notes.append(f"text tokenizer: {error}")
        return None, None
    try:
        return tokenizer, open_speech_side(paths, tokenizer, orders_of(config.sources))
    except UserError as error:
        notes.append(f"speech tokenizer: {error}; new rows are not counted")
        return tokenizer, None


def _told_ids(config: PlanConfig) -> int:
    """Ids of a text tokenizer that is not there: as many as the configuration says."""
    if config.text_tokenizer is not None:
        return config.text_tokenizer.vocab_size
    told = (config.model.architecture or {}).get("vocab_size")
    if told is None:
        raise UserError(
            "give text_tokenizer.vocab_size or model.architecture.vocab_size: the model's rows depend on it"
        )
    return int(told)


def _vocabulary_after(rows: int, paths: RunPaths, notes: list[str]) -> SpeechVocabulary | None:
    """The units of the card behind a text tokenizer that is not there."""
    assert paths.card is not None
    try:
        return SpeechVocabulary.after_text(rows, load_card(paths.card).codebook_sizes)
    except UserError as error:
        notes.append(f"speech tokenizer: {error}; new rows are not counted")
        return None


def _source_facts(source: SourcePlan) -> dict[str, Any]:
    names = ("name", "task", "share", "run_tokens", "documents", "tokens", "epochs", "too_long")
    return {name: getattr(source, name) for name in names}


def _size(model: PreTrainedModel) -> ModelSize:
    named = dict(model.named_parameters())
    return ModelSize(
        all=sum(parameter.numel() for parameter in named.values()),
        inner=sum(parameter.numel() for parameter in inner_matrices(model)),
        frozen=sum(parameter.numel() for parameter in named.values() if not parameter.requires_grad),
        added=sum(parameter.numel() for name, parameter in named.items() if ".lora_" in name),
    )


def _memory(config: PlanConfig, parts: _Parts, size: ModelSize) -> dict[str, Any]:
    """Memory of a process by stage, without and with checkpointing of activations.

    The settings of ``training.device.deepspeed`` count for the stage that they are for.
    """
    training, device, offload = config.training, config.training.device, config.offload(config.training.device)
    lengths, num_targets = micro_batch(parts.sources, training)
    found: dict[str, Any] = {"tokens": sum(lengths), "targets": num_targets, "stages": []}
    cache: dict[tuple[bool, bool], ActivationMemory | None] = {}
    for checkpointing in (False, True):
        for stage in (0,) if training.optimizer.name == "muon" else (0, 1, 2, 3):
            key = (checkpointing, config.cpu and stage < 3)
            if key not in cache:
                cache[key] = activation_memory(
                    parts.shape,
                    config.model.attention,
                    device.precision,
                    lengths,
                    num_targets,
                    *key,
                    config.lora,
                )
            micro = cache[key]
            if micro is None:
                parts.notes.append("activations: this architecture cannot be run without its weights; not counted")
            nothing = ActivationMemory(0, 0, 0)
            of_stage = offload if stage == device.zero_stage else None
            memory = stage_memory(stage, size, training, config.num_processes, micro or nothing, of_stage)
            found["stages"].append(config.stage_facts(memory, checkpointing))
    parts.notes[:] = dict.fromkeys(parts.notes)
    return found
