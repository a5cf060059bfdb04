"""``plan`` of a run of ``train-prompt``: a connector that learns between frozen parts, and the stores that it reads."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from cslm.batches.parts import Part
from cslm.batches.sources import Source
from cslm.batches.weights import is_never_drawn
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.model.flops import ModelFlops, model_flops
from cslm.model.positions import check_length
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_shape import PromptShape
from cslm.model.speech_prompt.speech_prompt import SpeechPrompt
from cslm.planning.activation_memory import ActivationMemory
from cslm.planning.clip_samples import ClipSample, clip_sample, planned_row, vectors_by_language
from cslm.planning.machines import MachinesConfig, disk_facts
from cslm.planning.plan_table import print_prompt_plan
from cslm.planning.planned_data import SourcePlan, micro_batch, plan_sources, planned_accounts
from cslm.planning.planned_memory import ModelSize, stage_memory
from cslm.planning.planned_stores import planned_stores
from cslm.planning.prompt_runs import format_of_run, shape_of_run
from cslm.planning.prompt_work import connector_flops, encoder_flops_per_sec, prompt_memory
from cslm.ranges import Range, check_numbers
from cslm.sequences.sequence_format import SequenceFormat
from cslm.training.language_model_config import RunPaths
from cslm.training.muon import inner_matrices
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.run_data import open_run_sources

_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
_FLOAT32 = 4
_FORWARD_AND_BACKWARD = 3


@dataclass
class PlanPromptConfig(TrainPromptConfig, MachinesConfig):
    """A run of ``train-prompt`` and the machines that it would have."""

    answer_tokens: int = 128
    """tokens of an answer, for the size of targets that are not made yet"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        self.check_machines()
        check_numbers(self, "", answer_tokens=Range(least=1))
        super().__post_init__()


class _Data(NamedTuple):
    """What the run would read."""

    sources: list[SourcePlan]
    samples: list[ClipSample]
    form: SequenceFormat | None
    """None where there is no text tokenizer"""
    told: list[str]


def plan_prompt_command(arguments: list[str]) -> None:
    """``plan --config YAML`` of ``train-prompt``."""
    config = parse_configuration(PlanPromptConfig, arguments, "plan")
    found = plan_prompt(config)
    print_prompt_plan(found, config.training.device.zero_stage, config.gpu_memory_gib)
    if config.json is not None:
        write_atomically(Path(config.json), (json_format.dumps(found, indent=1) + "\n").encode())


def plan_prompt(config: PlanPromptConfig) -> dict[str, Any]:
    """What the run will read, how large its parts are, what memory, disk and time it takes.

    Nothing is written, no weights are read and no recording is decoded. What is missing is named in ``notes``.

    Raises:
        UserError: parts whose sizes cannot be told or that do not belong together, or sources without any weight.
    """
    open_losses(config.losses)
    paths, notes = RunPaths(config), list[str]()
    shape = shape_of_run(config, paths)
    check_length(shape.llm, config.training.max_length, config.training.data.pack, str(config.model.base))
    data = _open_data(config, paths, shape, notes)
    prompt = shape.prompt(config.model.attention, _DTYPES[config.training.device.precision])
    size, encoder = _size(prompt), shape.encoder.num_weights()
    flops = _flops(config, shape, data, model_flops(prompt.llm), notes)
    drawn = {name: it for name, it in config.sources.items() if not is_never_drawn(it.weight)}
    stores = [] if data.form is None else planned_stores(drawn, paths, data.form, shape, config.answer_tokens)
    return {
        "steps": config.training.last_step,
        "tokens": config.training.last_step * config.training.tokens_per_step,
        "sources": [_source_facts(*pair, shape) for pair in zip(data.sources, data.samples, strict=True)],
        "accounts": planned_accounts(data.sources),
        "vectors": vectors_by_language(data.sources, data.samples),
        "parameters": size.all + encoder,
        "parts": {
            "encoder": encoder, "language model": size.frozen, "connector": _numel(prompt.connector),
            "lora": size.trained - _numel(prompt.connector),
        },
        "trained_parameters": size.trained,
        "memory": _memory(config, shape, data, size, notes),
        "disk": disk_facts(config.training, ModelSize(size.trained, inner=size.inner)),
        "stores": stores,
        "flops": flops,
        "hours": config.hours(sum(flops.values()) if flops else None, config.training.device),
        "told": data.told,
        "notes": list(dict.fromkeys(notes)),
    }  # fmt: skip


def _open_data(config: PlanPromptConfig, paths: RunPaths, shape: PromptShape, notes: list[str]) -> _Data:
    form: SequenceFormat | None = None
    try:
        _, form = format_of_run(config, paths, shape)
    except UserError as error:
        notes.append(f"text tokenizer: {error}")

    def open_source(name: str) -> Source:
        assert form is not None
        wanted, length = {name: config.sources[name]}, config.training.max_length
        part = Part(config.validation.share if config.validation else 0.0)
        return open_run_sources(wanted, paths, form, None, part, max_length=length)[name]

    sources = plan_sources(config.sources, config.training, open_source if form is not None else None, config.caps)
    notes += [f"{source.name}: {source.missing}" for source in sources if source.missing is not None]
    if any(source.missing is not None for source in sources):
        notes.append(
            "hours and activations are too low: of what is missing, encoder and connector are not counted, and each "
            f"document is taken as one of {config.training.max_length:,} tokens with one recording; short ones are more"
        )
    told = [f"the source {source.name}: {line}" for source in sources for line in source.told]
    samples = [ClipSample(0, 0, {}, (), ()) if form is None else clip_sample(it, form.hearing) for it in sources]
    return _Data(sources, samples, form, told)


def _size(prompt: SpeechPrompt) -> ModelSize:
    """Of connector and language model; the encoder is no part of what is trained or sharded."""
    parameters = list(prompt.parameters())
    return ModelSize(
        all=sum(it.numel() for it in parameters),
        inner=sum(it.numel() for it in inner_matrices(prompt)),
        frozen=sum(it.numel() for it in parameters if not it.requires_grad),
    )


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _source_facts(plan: SourcePlan, sample: ClipSample, shape: PromptShape) -> dict[str, Any]:
    names = ("name", "task", "share", "run_tokens", "documents", "tokens", "epochs", "too_long")
    facts = {name: getattr(plan, name) for name in names}
    vectors = round(sample.in_run(plan, sum(sample.vectors.values())))
    audio_sec = sample.in_run(plan, sum(sample.frames)) / shape.encoder.frame_rate_hz
    return facts | {"run_vectors": vectors, "run_audio_hours": audio_sec / 3600}


def _memory(
    config: PlanPromptConfig, shape: PromptShape, data: _Data, size: ModelSize, notes: list[str]
) -> dict[str, Any]:
    """Memory of a process by stage, without and with checkpointing of activations; weights are those of all parts."""
    training, device, encoder = config.training, config.training.device, shape.encoder
    most = encoder.num_frames(round(shape.settings.long_audio.most_sec * encoder.sample_rate_hz))
    row = planned_row(micro_batch(data.sources, training), data.sources, data.samples, most)
    heard = _FLOAT32 * encoder.num_weights()
    found: dict[str, Any] = {"tokens": sum(row.lengths), "targets": row.num_targets, "clips": row.num_clips}
    found |= {"frames": row.num_frames, "encoder": heard, "stages": []}
    notes.append("what the encoder needs while it hears: it is let go before the language model runs")
    for checkpointing in (False, True):
        prompt = shape.prompt(config.model.attention, _DTYPES[device.precision])
        micro = prompt_memory(prompt, row, encoder.dims, checkpointing)
        if micro is None:
            notes.append("activations: these parts cannot be run without their weights; not counted")
        for stage in range(1 if training.optimizer.name == "muon" else 4):
            offload = config.offload(device) if stage == device.zero_stage else None
            memory = stage_memory(
                stage, size, training, config.num_processes, micro or ActivationMemory(0, 0, 0), offload
            )
            whole = replace(memory, weights=memory.weights + heard)
            found["stages"].append(config.stage_facts(whole, checkpointing))
    return found


def _flops(
    config: PlanPromptConfig, shape: PromptShape, data: _Data, costs: ModelFlops | None, notes: list[str]
) -> dict[str, int] | None:
    """Operations of the run by part; None where those of the language model are not known."""
    if costs is None:
        notes.append("hours: operations of this language model are not known")
        return None
    pairs, length = list(zip(data.sources, data.samples, strict=True)), config.training.max_length
    found = {"language model": round(sum(it.run_tokens * it.flops_per_token(costs, length) for it in data.sources))}
    hearing = [(plan, sample) for plan, sample in pairs if sample.frames]
    of_encoder = encoder_flops_per_sec(shape.settings.encoder, shape.encoder.sample_rate_hz)
    connector, encoder, teacher = 0.0, 0.0, 0.0
    for plan, sample in hearing:
        mean = max(1, round(sum(sample.frames) / len(sample.frames)))
        one = connector_flops(shape.connector("float32"), mean, shape.encoder.dims)
        if one is None:
            notes.append("hours: the connector's operations are not known")
        connector += _FORWARD_AND_BACKWARD * (one or 0) * sample.in_run(plan, len(sample.frames))
        if config.sources[plan.name].frames is None:
            seconds = sample.in_run(plan, sum(sample.frames)) / shape.encoder.frame_rate_hz
            encoder += (of_encoder or 0) * seconds
        if config.losses.imitation_kl is not None and sample.teacher_lengths:
            teacher += sample.in_run(plan, costs.forward(sample.teacher_lengths))
    if of_encoder is None and any(config.sources[plan.name].frames is None for plan, _ in hearing):
        notes.append("hours: the encoder's operations are not known")
    return found | {"connector": round(connector), "encoder": round(encoder), "teacher": round(teacher)}
