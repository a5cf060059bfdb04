"""Training a causal language model on text and units: what ``pretrain`` and ``finetune`` share."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cslm.batches.mixture import Mixture
from cslm.batches.sources import IndexFolder, SourceConfig, open_sources
from cslm.batches.stream import BatchStream
from cslm.errors import UserError
from cslm.model.backbone import ModelConfig, build_model, load_text_tokenizer
from cslm.model.checkpoint import SPEECH_FOLDER, read_speech_section, save_checkpoint
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.extension import extend_model, num_embeddings
from cslm.model.loss import LanguageModelLoss
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.vocabulary import SpeechVocabulary, extend_tokenizer, from_tokenizer, has_speech
from cslm.sequences.wordings import all_wordings
from cslm.training.engine import runs_on_cpu, start_processes, wait_for_all
from cslm.training.loop import is_finished, train
from cslm.training.run_folder import check_output, write_configuration
from cslm.training.training_config import TrainingConfig
from cslm.units.card import Card, load_card, load_codec
from cslm.units.fingerprint import UNKNOWN, check_fingerprint

INDEX_FOLDER = ".documents"
"""of a run: where its documents begin and which languages they are in"""

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
    """where the rows of units start: mean_and_covariance of the text rows, mean, or normal"""
    untie_head: bool = False
    """with new units: a base whose head shares its embeddings gets a head of its own, and learns to hear sooner"""


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
    rank, _ = start_processes(config.training.num_threads)
    wait_for_all()
    if rank == 0:
        write_configuration(paths.output, config)
    tokenizer = _text_tokenizer(config, paths, rank)
    speech = _speech_side(config, paths, tokenizer)
    form = SequenceFormat(tokenizer)
    index = IndexFolder(paths.output / INDEX_FOLDER, int(os.environ["LOCAL_RANK"]))
    stream = _open_stream(config, paths, form, tokenizer.pad_token_id, speech, index)
    model = _model(config, paths, tokenizer, speech)

    def save(weights: dict[str, Tensor]) -> None:
        save_checkpoint(
            model,
            tokenizer,
            paths.output,
            {name.removeprefix("model."): value for name, value in weights.items()},
            speech=speech.section() if speech else None,
            card=speech.card.path if speech and speech.card else None,
            end_of_turn=form.chat.end_of_turn_ids[-1],
        )

    train(LanguageModelLoss(model, len(stream.groups)), stream, config.training, paths.output, save)


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


def _text_tokenizer(config: LanguageModelConfig, paths: _Paths, rank: int) -> PreTrainedTokenizerBase:
    if paths.base is not None:
        if config.text_tokenizer is not None:
            raise UserError("text_tokenizer is only for a model from scratch: model.base brings its own")
        return load_text_tokenizer(paths.base)
    if config.text_tokenizer is None:
        raise UserError("a model from scratch needs the section text_tokenizer (vocab_size, texts)")
    folder = paths.output / "text_tokenizer"
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


def _open_stream(
    config: LanguageModelConfig,
    paths: _Paths,
    form: SequenceFormat,
    pad_id: int | None,
    speech: SpeechSide | None,
    index: IndexFolder,
) -> BatchStream:
    training = config.training
    located = {
        name: dataclasses.replace(
            source,
            store=None if source.store is None else str(paths.locate(source.store)),
            documents=None if source.documents is None else str(paths.locate(source.documents)),
        )
        for name, source in config.sources.items()
    }
    sources = open_sources(located, form, index)
    for name, source in sources.items():
        if source.store is not None and speech is not None:
            where = f"the store {located[name].store}"
            check_fingerprint(speech.fingerprint, source.store.fingerprint, speech.where, where)
    lengths = {name: source.mean_length for name, source in sources.items()}
    mixture = Mixture({name: located[name].weight for name in sources}, lengths, training.seed)
    return BatchStream(
        sources, mixture, training.tokens_per_step, training.tokens_per_micro_batch, training.max_length,
        training.seed, pad_id or 0,
    )  # fmt: skip


def _model(
    config: LanguageModelConfig, paths: _Paths, tokenizer: PreTrainedTokenizerBase, speech: SpeechSide | None
) -> PreTrainedModel:
    backbone = dataclasses.replace(config.model, base=paths.base)
    seed = config.training.seed
    model = build_model(backbone, tokenizer, seed)
    if speech is not None and speech.is_new:
        extend_model(model, speech.vocabulary, config.initialisation, seed, config.untie_head)
    num_rows = num_embeddings(model)
    if num_rows < len(tokenizer):
        raise UserError(f"{paths.base} has {num_rows} rows, but its tokenizer {len(tokenizer)} ids: they do not fit")
    if runs_on_cpu() and config.training.zero_stage < 3:
        use_cpu_layers(model)
    if config.training.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model
