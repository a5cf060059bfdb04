"""What a run reads, opened from its configuration: text tokenizer, speech tokenizer, sources, stream, held-out part."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from cslm.batches.held_out import HeldOut
from cslm.batches.parts import Part
from cslm.batches.schedules import reckon, reckon_alike, reckon_epochs, told_of_compressions
from cslm.batches.sources import IndexFolder, Source, SourceConfig, open_sources
from cslm.batches.stream import BatchSizes, BatchStream, mixture_of
from cslm.batches.told_before import told_before_training
from cslm.codecs.fingerprint import check_fingerprint
from cslm.corpora.fitted_texts import fitted_texts
from cslm.decoder.speech_decoder import CONFIG_FILE, SpeechDecoder
from cslm.errors import UserError
from cslm.model.backbone import load_text_tokenizer
from cslm.model.checkpoint import DECODER_FOLDER, SPEECH_FOLDER
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.text_tokenizer import train_text_tokenizer
from cslm.sequences.wordings import all_wordings
from cslm.training.engine import deepspeed_settings, runs_on_cpu
from cslm.training.language_model_config import LanguageModelConfig, RunConfig, RunPaths
from cslm.training.run_folder import INDEX_FOLDER, LOCK_FILE, TEXT_TOKENIZER_FOLDER
from cslm.training.speech_side import SpeechSide, open_speech_side, open_textless_side, orders_of
from cslm.training.state import MadeOf, find_latest
from cslm.units.sample_store import FRAMES, TARGETS, TEACHER_STATES, SampleStore

_FILES = ("store", "documents", "manifest", "frames", "targets", "teacher_states")
"""keys of a source that name what it reads"""


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
    held_out: HeldOut | None
    """what is validated on; None where nothing is"""

    digests: Mapping[str, str]
    """a hash of what each source holds, by name; none where nothing is kept"""

    @property
    def made_of(self) -> MadeOf:
        """What a checkpoint hangs on.

        The vocabulary is what ids stand for, in short: their number, a hash of text tokens and their ids, the units.
        """
        tokens = json.dumps(sorted(self.tokenizer.get_vocab().items()), ensure_ascii=False)
        digest = hashlib.sha256(tokens.encode("utf-8")).hexdigest()[:16]
        units = f"units {self.speech.fingerprint}" if self.speech is not None else "no units"
        return MadeOf(f"{len(self.tokenizer):,} ids, tokens {digest}, {units}", self.digests)


def open_data(config: LanguageModelConfig, rank: int = 0, local_rank: int = 0, scratch: Path | None = None) -> RunData:
    """The tokenizer and the data of a run, without its model.

    Args:
        rank: process 0 fits the text tokenizer of a model from scratch, the others wait for it.
        local_rank: process 0 of a machine reads documents through once, the others wait for what it found.
        scratch: where a text tokenizer goes that the run has not fitted yet, and nothing else is kept; None is the
            run's own folder.

    Raises:
        UserError: parts that do not belong together, or a file that is missing.
    """
    check_can_forget(config)
    paths = RunPaths(config)
    fitted = paths.output / TEXT_TOKENIZER_FOLDER
    folder = fitted if scratch is None or fitted.is_dir() else scratch / fitted.name
    tokenizer: PreTrainedTokenizerBase
    speech: SpeechSide | None
    if config.model.textless:
        tokenizer, speech = open_textless_side(paths, config.model.merge_repeats)
    else:
        tokenizer = open_text_tokenizer(config, paths, folder, rank)
        speech = open_speech_side(paths, tokenizer, orders_of(config.sources))
    form = open_format(config, paths, tokenizer)
    return open_sequences(config, tokenizer, speech, form, rank, local_rank, scratch)


def open_sequences(
    config: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    speech: SpeechSide | None,
    form: SequenceFormat,
    rank: int = 0,
    local_rank: int = 0,
    scratch: Path | None = None,
) -> RunData:
    """The data of a run whose tokenizer and format are there; arguments and errors as of :func:`open_data`."""
    paths = RunPaths(config)
    working = paths.output / LOCK_FILE
    kept_in = IndexFolder(paths.output / INDEX_FOLDER, local_rank, working) if scratch is None else None
    validation, training = config.validation, config.training
    part = Part(validation.share if validation else 0.0)
    sizes = BatchSizes(
        training.tokens_per_step, training.tokens_per_micro_batch, training.max_length, training.data.pack
    )
    sources = open_run_sources(config.sources, paths, form, speech, part, kept_in, sizes.max_length)
    weights = {name: source.weight for name, source in config.sources.items()}
    total_tokens = _begun_with(paths.output) or training.schedule_tokens
    reckon(sources, weights, total_tokens, training.tokens_per_step)
    mixture = mixture_of(sources, weights, training.seed, total_tokens, config.caps)
    reckon_epochs(sources, mixture)
    pad_id, alternate = tokenizer.pad_token_id or 0, training.data.alternate
    stream = BatchStream(sources, mixture, sizes, training.seed, pad_id, alternate)
    told = told_before_training(sources, config.sources, sizes.max_length) if scratch is None else ()
    for line in (*told, *told_of_compressions(sources)) if scratch is None else ():
        if rank == 0:
            print(line, flush=True)
    first = config.training.data.tokenize_texts_first
    if not runs_on_cpu() if first is None else first:
        for source in stream.sources.values():
            source.know_texts()
    held_out = None
    if validation is not None:
        looked_at = open_run_sources(
            config.sources, paths, form, speech, part._replace(held_out=True), kept_in, sizes.max_length
        )
        reckon_alike(looked_at, sources)
        held_out = HeldOut(looked_at, stream, validation.max_documents)
        if not len(held_out):
            raise UserError(f"validation.share {validation.share} of these sources is no document: raise it")
    digests = {} if kept_in is None else source_digests(config.sources, paths, sources, kept_in)
    return RunData(tokenizer, speech, form, stream, held_out, digests)


def check_can_forget(config: RunConfig) -> None:
    """Make sure that the optimizer can forget its moments, where a source asks for it.

    Raises:
        UserError: it has none, or they lie on a disk.
    """
    asking = [
        name for name, it in config.sources.items() if it.compression is not None and it.compression.reset_optimizer
    ]
    if not asking:
        return
    told = f"the source {asking[0]} has compression.reset_optimizer, and"
    training = config.training
    if training.optimizer.name == "sgd":
        raise UserError(f"{told} sgd has no moments to forget: leave it out, or choose adamw")
    offload = deepspeed_settings(training.device).get("zero_optimization", {}).get("offload_optimizer", {})
    if offload.get("device") == "nvme":
        raise UserError(f"{told} {training.device.deepspeed} keeps the moments on a disk: offload them to cpu")


def source_digests(
    configs: Mapping[str, SourceConfig], paths: RunPaths, sources: Mapping[str, Source], kept_in: IndexFolder
) -> dict[str, str]:
    """A hash of what each open source holds: of its store's shards, and of the index of its documents."""
    found = {}
    for name, source in sources.items():
        documents = configs[name].documents
        parts = ["" if source.store is None else source.store.digest]
        parts.append("" if documents is None else kept_in.digests[paths.locate(documents)])
        parts += [] if configs[name].manifest is None else [kept_in.digests[paths.locate(str(configs[name].manifest))]]
        for kind in (TARGETS, TEACHER_STATES, FRAMES):  # keys of a source
            made = getattr(configs[name], kind)
            parts += [] if made is None else [SampleStore.open(paths.locate(made), kind).digest]
        found[name] = hashlib.sha256(" ".join(parts).encode("utf-8")).hexdigest()
    return found


def _begun_with(output: Path) -> int | None:
    """Tokens of the schedule that the run in ``output`` began with; None for one that is new, or from before."""
    saved = find_latest(output)
    return None if saved is None else saved.state.schedule_tokens


def open_run_sources(
    configs: Mapping[str, SourceConfig],
    paths: RunPaths,
    form: SequenceFormat,
    speech: SpeechSide | None,
    part: Part,
    kept_in: IndexFolder | None = None,
    max_length: int | None = None,
) -> dict[str, Source]:
    """The sources under the root by name, or a part of them; their units are those of the model.

    Stories and speech are joined to ``max_length`` where they do not say to what else.

    Raises:
        UserError: as :func:`~cslm.batches.sources.open_sources`, or units of another speech tokenizer.
    """
    for name, config in configs.items():
        for key in _FILES:
            given, what = getattr(config, key), "file" if key == "documents" else key
            if given is not None and not paths.locate(given).exists() and "://" not in given:
                looked_for = paths.locate(given).absolute()
                raise UserError(f"the source {name}: there is no {what} {given}: looked for {looked_for}")
    located = {name: _located(source, paths) for name, source in configs.items()}
    sources = open_sources(located, form, part, kept_in, max_length)
    for name, source in sources.items():
        if source.store is not None and speech is not None:
            where = f"the store {located[name].store}"
            check_fingerprint(speech.fingerprint, source.store.fingerprint, speech.where, where)
    return sources


def _located(source: SourceConfig, paths: RunPaths) -> SourceConfig:
    """A source with its files as they are found from here."""
    given = {key: getattr(source, key) for key in _FILES}
    found: dict[str, Any] = {key: str(paths.locate(name)) for key, name in given.items() if name is not None}
    return dataclasses.replace(source, **found)


def open_text_tokenizer(
    config: LanguageModelConfig, paths: RunPaths, folder: Path, rank: int = 0
) -> PreTrainedTokenizerBase:
    """The base's text tokenizer, or one that process 0 fits in ``folder`` for a model from scratch.

    Raises:
        UserError: neither is given, or a file of texts is missing.
    """
    if paths.base is not None:
        return load_text_tokenizer(paths.base)
    if config.text_tokenizer is None:
        raise UserError("a model from scratch needs the section text_tokenizer (vocab_size, texts)")
    files = [paths.file(name) for name in config.text_tokenizer.texts]
    if rank == 0 and not folder.is_dir():
        wordings = [text for text in all_wordings(config.text_tokenizer.languages) for _ in range(20)]
        fitted = config.text_tokenizer
        train_text_tokenizer([*fitted_texts(files), *wordings], fitted.vocab_size, folder, fitted.always)
    while not folder.is_dir():
        if not (paths.output / LOCK_FILE).exists():
            raise UserError(f"process 0 stopped before there was a text tokenizer in {folder}: it says why")
        time.sleep(0.2)
    return load_text_tokenizer(str(folder))


def open_format(config: RunConfig, paths: RunPaths, tokenizer: PreTrainedTokenizerBase) -> SequenceFormat:
    """How sequences are written; a chat template that is given replaces the tokenizer's.

    Raises:
        UserError: no such file, or a template that leaves contents out.
    """
    given = None if config.chat_template is None else paths.file(config.chat_template).read_text(encoding="utf-8")
    return SequenceFormat(tokenizer, given)


def decoder_folder(paths: RunPaths, given: str | None, speech: SpeechSide | None) -> Path | None:
    """The speech decoder that goes into the checkpoint: the given one, else the base's own; None where there is none.

    Raises:
        UserError: no decoder there, weights that cannot be read, or one of other units.
    """
    own = Path(paths.base or "") / SPEECH_FOLDER / DECODER_FOLDER
    if given is None and not (paths.base and speech and (own / CONFIG_FILE).is_file()):
        return None
    if speech is None:
        raise UserError(f"decoder is {given}, and this model has no units to decode: leave it out")
    folder = own if given is None else paths.locate(given)
    SpeechDecoder.from_pretrained(folder, speech.fingerprint, speech.where)
    return folder
