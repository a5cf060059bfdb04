"""Training a causal language model on text and units: what ``pretrain`` and ``finetune`` share."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cslm.batches.held_out import HeldOut, Part
from cslm.batches.read_ahead import read_ahead
from cslm.batches.sources import Source, SourceConfig, open_sources
from cslm.batches.stream import BatchStream, mixed_stream
from cslm.batches.weights import CapsConfig
from cslm.errors import UserError
from cslm.model.backbone import ModelConfig, build_model, load_text_tokenizer
from cslm.model.checkpoint import SPEECH_FOLDER, read_speech_section, save_checkpoint
from cslm.model.compiled_layers import compile_layers
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.extension import CODEC_CENTROIDS, INITIALISATIONS, extend_model, num_embeddings
from cslm.model.lora import LoraOptions, add_lora, merge_lora
from cslm.model.loss import LanguageModelLoss
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import SpeechVocabulary, extend_tokenizer, from_tokenizer, has_speech
from cslm.sequences.wordings import all_wordings
from cslm.training.engine import runs_on_cpu, start_processes, wait_for_all
from cslm.training.loop import is_finished, train
from cslm.training.row_training import RowTraining
from cslm.training.run_folder import check_output, write_configuration
from cslm.training.training_config import TrainingConfig
from cslm.training.validation import ValidationConfig, Validator
from cslm.units.card import Card, card_centroids, load_card, load_codec
from cslm.units.fingerprint import UNKNOWN, check_fingerprint

_TEXT_KEYS = ("text", "question_text", "answer_text", "source", "target")


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


@dataclass(frozen=True)
class SpeechSide:
    """The units that a run works with."""

    vocabulary: SpeechVocabulary
    """where units and markers stand"""
    fingerprint: str
    """of the speech tokenizer"""
    card: Card | None
    """None where a base made by others brings none"""
    is_new: bool
    """whether the rows are added by this run"""
    where: str
    """what named the fingerprint, for messages"""

    def section(self) -> dict[str, Any]:
        """The speech section of the checkpoint's configuration."""
        section = self.vocabulary.to_dict()
        section |= {"fingerprint": self.fingerprint, "vocabulary_size": self.vocabulary.size}
        if self.card is not None:
            section |= {"frame_rate_hz": self.card.frame_rate_hz, "sample_rate_hz": self.card.sample_rate_hz}
        return section


def train_language_model(config: LanguageModelConfig) -> None:
    """Train to the end of the configuration; an interrupted run goes on, a finished one says so.

    Raises:
        UserError: an output folder of another run, parts that do not belong together, or a file that is missing.
    """
    paths = _Paths(config)
    check_output(paths.output, config)
    if is_finished(paths.output, config.training):
        print(f"{paths.output}: already finished; delete the folder to train again", flush=True)
        return
    rank, world_size = start_processes(config.training.num_threads)
    wait_for_all()
    if rank == 0:
        write_configuration(paths.output, config)
    tokenizer, speech, form, stream = open_data(config, rank)
    model = _model(config, paths, tokenizer, speech)
    rows = _row_training(config, model, speech)
    if rank == 0 and config.lora is not None:
        counts = [sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (True, False)]
        print("LoRA: {:,} of {:,} parameters are trainable".format(*counts), flush=True)

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        save_checkpoint(
            model,
            tokenizer,
            folder,
            merge_lora(model, {name.removeprefix("model."): value for name, value in weights.items()}),
            speech=speech.section() if speech else None,
            card=speech.card.path if speech and speech.card else None,
            end_of_turn=form.chat.end_of_turn_ids[-1],
        )

    module = LanguageModelLoss(model, len(stream.groups))
    validator = None
    if config.validation is not None:
        held_out = _held_out(config, paths, form, speech, stream)
        if rank == 0:
            print(f"validation: {len(held_out):,} held-out documents every {config.validation.eval_steps} steps")
            for what, count in held_out.notes.items():
                print(f"{what}: {count:,}", flush=True)
        validator = Validator(config.validation, held_out.rows(rank, world_size), stream.groups, paths.output, save)
    with read_ahead(stream, _loader_workers(config.training)) as ahead:
        train(module, ahead, config.training, paths.output, save, rows, validator)


class RunData(NamedTuple):
    """What a run reads, and in which form."""

    tokenizer: PreTrainedTokenizerBase
    """with the units, where there are any"""
    speech: SpeechSide | None
    """None for a model of text only"""
    form: SequenceFormat
    """how sequences are written"""
    stream: BatchStream
    """the batches of the sources"""


def open_data(config: LanguageModelConfig, rank: int = 0, scratch: Path | None = None) -> RunData:
    """The tokenizer and the stream of a run, without its model.

    Args:
        rank: process 0 fits the text tokenizer of a model from scratch, the others wait for it.
        scratch: where a text tokenizer goes that the run has not fitted yet; None is the run's own folder.

    Raises:
        UserError: parts that do not belong together, or a file that is missing.
    """
    paths = _Paths(config)
    fitted = paths.output / "text_tokenizer"
    folder = fitted if scratch is None or fitted.is_dir() else scratch / "text_tokenizer"
    tokenizer = _text_tokenizer(config, paths, folder, rank)
    speech = _speech_side(config, paths, tokenizer)
    form = SequenceFormat(tokenizer)
    return RunData(tokenizer, speech, form, _open_stream(config, paths, form, tokenizer.pad_token_id, speech))


def open_model(config: LanguageModelConfig, data: RunData) -> PreTrainedModel:
    """The model of a run before its first step, with rows for new units.

    Raises:
        UserError: no such base or architecture, or a base that does not fit its tokenizer.
    """
    return _model(config, _Paths(config), data.tokenizer, data.speech)


class _Paths:
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


def _text_tokenizer(config: LanguageModelConfig, paths: _Paths, folder: Path, rank: int) -> PreTrainedTokenizerBase:
    if paths.base is not None:
        if config.text_tokenizer is not None:
            raise UserError("text_tokenizer is only for a model from scratch: model.base brings its own")
        return load_text_tokenizer(paths.base)
    if config.text_tokenizer is None:
        raise UserError("a model from scratch needs the section text_tokenizer (vocab_size, texts)")
    files = [paths.file(name) for name in config.text_tokenizer.texts]
    if rank == 0 and not folder.is_dir():
        wordings = [text for text in all_wordings(config.text_tokenizer.languages) for _ in range(20)]
        train_text_tokenizer([*_texts(files), *wordings], config.text_tokenizer.vocab_size, folder)
    while not folder.is_dir():
        time.sleep(0.2)
    return load_text_tokenizer(str(folder))


def _texts(files: list[Path]) -> Iterator[str]:
    """The texts of JSON Lines files (fields such as text, question_text, messages) and the lines of others."""
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if file.suffix != ".jsonl":
                    yield line.rstrip("\n")
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(f"{file}, line {number}: not JSON ({error})") from None
                yield from (row[key] for key in _TEXT_KEYS if isinstance(row.get(key), str))
                yield from (message["content"] for message in row.get("messages", ()))


def _speech_side(config: LanguageModelConfig, paths: _Paths, tokenizer: PreTrainedTokenizerBase) -> SpeechSide | None:
    """The units, from the card or the base; both are checked against one another."""
    section = read_speech_section(paths.base) if paths.base is not None else None
    is_new = not has_speech(tokenizer)
    if paths.card is None and is_new:
        return None
    known = section["fingerprint"] if section is not None else UNKNOWN
    of_base = Path(paths.base or "") / SPEECH_FOLDER / "card.yaml"
    if paths.card is None and not of_base.is_file():
        return SpeechSide(from_tokenizer(tokenizer), known, None, is_new, f"the base {paths.base}")
    card = load_card(paths.card or of_base)
    vocabulary = extend_tokenizer(tokenizer, card.codebook_sizes)
    found = card.fingerprint or load_codec(str(card.path)).fingerprint
    if not is_new:
        check_fingerprint(known, found, f"the base {paths.base}", f"the card {card.path}")
    return SpeechSide(vocabulary, found, card, is_new, f"the card {card.path}")


def _open_sources(
    configs: dict[str, SourceConfig], paths: _Paths, form: SequenceFormat, speech: SpeechSide | None, part: Part
) -> dict[str, Source]:
    """The sources under the root by name, or a part of them; their units are those of the model."""
    located = {
        name: dataclasses.replace(
            source,
            store=None if source.store is None else str(paths.locate(source.store)),
            documents=None if source.documents is None else str(paths.locate(source.documents)),
        )
        for name, source in configs.items()
    }
    sources = open_sources(located, form, part)
    for name, source in sources.items():
        if source.store is not None and speech is not None:
            where = f"the store {located[name].store}"
            check_fingerprint(speech.fingerprint, source.store.fingerprint, speech.where, where)
    return sources


def _open_stream(
    config: LanguageModelConfig, paths: _Paths, form: SequenceFormat, pad_id: int | None, speech: SpeechSide | None
) -> BatchStream:
    training = config.training
    part = Part(config.validation.share if config.validation else 0.0)
    return mixed_stream(
        _open_sources(config.sources, paths, form, speech, part),
        {name: source.weight for name, source in config.sources.items()}, tokens_per_step=training.tokens_per_step,
        tokens_per_micro_batch=training.tokens_per_micro_batch, max_length=training.max_length, seed=training.seed,
        pad_id=pad_id or 0, caps=config.caps, total_tokens=training.schedule_steps * training.tokens_per_step,
    )  # fmt: skip


def _held_out(
    config: LanguageModelConfig, paths: _Paths, form: SequenceFormat, speech: SpeechSide | None, stream: BatchStream
) -> HeldOut:
    """What is validated on.

    Raises:
        UserError: nothing is held out.
    """
    assert config.validation is not None
    sources = _open_sources(config.sources, paths, form, speech, Part(config.validation.share, held_out=True))
    held_out = HeldOut(sources, stream, config.validation.max_documents)
    if not len(held_out):
        raise UserError(f"validation.share {config.validation.share} of these sources is no document: raise it")
    return held_out


def _loader_workers(config: TrainingConfig) -> int:
    """On a CPU all cores train; beside an accelerator two processes read ahead, unless told otherwise."""
    if config.loader_workers is not None:
        return config.loader_workers
    return 0 if runs_on_cpu() else 2


def _model(
    config: LanguageModelConfig, paths: _Paths, tokenizer: PreTrainedTokenizerBase, speech: SpeechSide | None
) -> PreTrainedModel:
    backbone = dataclasses.replace(config.model, base=paths.base)
    seed = config.training.seed
    model = build_model(backbone, tokenizer, seed)
    if speech is not None and speech.is_new:
        centroids = _centroids(config.initialisation, speech)
        extend_model(model, speech.vocabulary, config.initialisation, seed, config.untie_head, centroids)
    num_rows = num_embeddings(model)
    if num_rows < len(tokenizer):
        raise UserError(f"{paths.base} has {num_rows} rows, but its tokenizer {len(tokenizer)} ids: they do not fit")
    if config.lora is not None:
        add_lora(model, config.lora, seed)
    if config.training.compile:
        compile_layers(model)
    elif runs_on_cpu() and config.training.zero_stage < 3:
        use_cpu_layers(model)
    if config.training.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


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


def _row_training(config: LanguageModelConfig, model: PreTrainedModel, speech: SpeechSide | None) -> RowTraining | None:
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
