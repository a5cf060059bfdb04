"""The checks of sources: what their keys ask for is there, and their tasks read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cslm.batches.document_index import DocumentIndex
from cslm.batches.parts import Part, name_hash
from cslm.batches.source_config import WHOLE, NothingLeftError, SourceConfig, Told
from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import check_chain
from cslm.sequences.chains import CHAINS
from cslm.sequences.compression import Compression, check_compression
from cslm.sequences.interleaving import SPANS
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Settings, SourceKind
from cslm.units.store import StoreRow, UnitStore

_CALLED: dict[SourceKind, str] = {"groups": "groups in several languages", "stories": "stories"}
_ALWAYS_READ = ("task", "weight", "languages", "max_too_long_share", "loss_weight")


def check_keys(name: str, config: SourceConfig, textless: bool = False) -> None:
    """Make sure that there is such a task, and that it reads every key that is given.

    Args:
        textless: whether the model has no text.

    Raises:
        UserError: an unknown task, one with text for a model without, or a key that differs from its default and is not
            read.
    """
    if config.task not in TASKS:
        raise UserError(f"the source {name} has the task {config.task!r}: choose one of {', '.join(sorted(TASKS))}")
    if textless and not TASKS[config.task].textless:
        others = ", ".join(task for task, record in TASKS.items() if record.textless)
        raise UserError(
            f"the source {name} has the task {config.task}, which has text, and the model is textless: choose one of "
            f"{others}, leave the source out, or train a model with text"
        )
    read = (*_ALWAYS_READ, *TASKS[config.task].reads)
    for key in dataclasses.fields(SourceConfig):
        if key.name not in read and getattr(config, key.name) != key.default:
            others = ", ".join(task for task, record in TASKS.items() if key.name in record.reads)
            raise UserError(
                f"the source {name} has the task {config.task}, which does not read {key.name}: leave it out "
                f"({others} read it)"
            )


def checked_settings(name: str, config: SourceConfig, form: SequenceFormat) -> Settings:
    """How the task of a source writes its documents.

    Raises:
        UserError: a value that is none of the known or out of range, or a chain that the tokenizer cannot write.
    """
    if config.order not in CHAINS:
        raise UserError(f"the source {name} has the order {config.order!r}: choose one of {', '.join(CHAINS)}")
    try:
        if "order" in TASKS[config.task].reads:
            check_chain(form, config.order)
    except UserError as error:
        raise UserError(f"the source {name}: {error}") from None
    if config.spans not in SPANS:
        raise UserError(f"the source {name} has the spans {config.spans!r}: choose one of {', '.join(SPANS)}")
    if config.span_words < 1:
        raise UserError(f"the source {name} has span_words {config.span_words}: give 1 or more")
    if config.num_sentences < 2:
        raise UserError(f"the source {name} has num_sentences {config.num_sentences}: give 2 or more")
    compression = config.compression
    if compression is not None and form.vocabulary is None and "manifest" not in TASKS[config.task].reads:
        raise UserError(f"the source {name} has a compression, and a model of text alone writes no chain: leave it out")
    return Settings(
        config.order, config.spans, config.span_words, config.num_sentences,
        None if compression is None else Compression.of(compression),
    )  # fmt: skip


def check_chain_keys(name: str, config: SourceConfig, languages: Collection[str]) -> None:
    """Make sure that the chain of a source has what its keys ask for.

    Args:
        languages: of the texts of its documents.

    Raises:
        UserError: keys of spoken answers where they are written, or a compression that cannot be done.
    """
    chain = CHAINS[config.order]
    for key in ("speakers", "unit_noise") if not chain.speaks and config.store is not None else ():
        if getattr(config, key):
            raise UserError(
                f"the source {name} has {key} {getattr(config, key)}, which is about spoken answers, and the order "
                f"{config.order} writes them: leave it out"
            )
    if config.compression is not None:
        try:
            check_compression(config.compression, chain, config.order, languages)
        except UserError as error:
            raise UserError(f"the source {name}: {error}") from None


def open_store(name: str, config: SourceConfig, form: SequenceFormat) -> UnitStore:
    """The unit store of a source.

    Raises:
        UserError: none is named or there, or its units are not those of the vocabulary.
    """
    if config.store is None:
        raise UserError(
            f"the source {name} has the task {config.task} and needs a store: give the folder of a unit store"
        )
    if form.vocabulary is None:
        raise UserError(f"the source {name} has units, but the model has none: give the card of a speech tokenizer")
    store = UnitStore.open(config.store)
    if tuple(store.codebook_sizes) != form.vocabulary.codebook_sizes:
        raise UserError(
            f"the store {config.store} has codebooks {list(store.codebook_sizes)}, the vocabulary "
            f"{list(form.vocabulary.codebook_sizes)}: tokenize the corpus with the card of the model"
        )
    return store


def row_of(store: UnitStore, index: int, with_words: bool) -> StoreRow:
    """A row of a store, its language by its tag."""
    row = store.row(index, with_words)
    tag = language_tag(row.language)
    return row if tag == row.language else dataclasses.replace(row, language=tag)


def with_tags(name: str, config: SourceConfig) -> SourceConfig:
    """The source with its languages by their tags.

    Raises:
        UserError: one that is no language.
    """
    if config.languages is None:
        return config
    try:
        return dataclasses.replace(config, languages=[language_tag(said) for said in config.languages])
    except UserError as error:
        raise UserError(f"languages of the source {name}: {error}") from None


def with_length(config: SourceConfig, joined_tokens: int | None) -> SourceConfig:
    """The source with the length that it is joined to, where its task joins and it does not say it itself."""
    if config.joined_tokens is not None or "joined_tokens" not in TASKS[config.task].reads:
        return config
    return dataclasses.replace(config, joined_tokens=joined_tokens)


def kept_rows(
    name: str, store: UnitStore, wanted: Mapping[str, list[str] | None], part: Part = WHOLE
) -> npt.NDArray[np.bool_]:
    """Which rows the filters and the part leave, ``(num_utterances,)``.

    Args:
        wanted: the values that are kept, by column; None keeps all.

    Raises:
        UserError: a filter names a language or a speaker that the store does not have.
    """
    keep = np.ones(len(store), dtype=np.bool_)
    for column, wanted_values in wanted.items():
        if wanted_values is None:
            continue
        values = (store.languages() if column == "language" else store.column(column)).astype(str)
        present = np.unique(values).tolist()
        missing = [value for value in wanted_values if value not in present]
        if missing:
            raise UserError(
                f"the source {name} wants {column} {', '.join(missing)}, which {store.path} does not have; "
                f"it has {', '.join(present[:20])}{' ...' if len(present) > 20 else ''}"
            )
        keep &= np.isin(values, wanted_values)
    if part.share:
        columns = (store.column(column) for column in ("document", "group", "id"))
        names = (next(name for name in found if name is not None) for found in zip(*columns, strict=True))
        keep &= part.keeps(np.fromiter(map(name_hash, names), np.uint64, len(store)))
    return keep


def not_empty(name: str, config: SourceConfig, count: int, told: Iterable[Told] = ()) -> int:
    """``count``, the number of documents of a source.

    Args:
        told: what it leaves out whatever its filters are.

    Raises:
        UserError: it is 0.
    """
    if count == 0:
        where = config.documents or config.manifest or config.store
        filters = {"languages": config.languages, "speakers": config.speakers}
        asked = ", ".join(f"{key} {value}" for key, value in filters.items() if value is not None) or "no filter"
        what = _CALLED.get(TASKS[config.task].source, "documents")
        left_out = "".join(f"{it}; " for it in told)
        do = "mend that, change its filters," if left_out else "change its filters"
        raise NothingLeftError(
            f"the source {name} has no {what} left of {where} ({asked}): {left_out}{do} or leave it out"
        )
    return count


def documents_path(name: str, config: SourceConfig) -> Path:
    """The file of a source.

    Raises:
        UserError: none is named.
    """
    if config.documents is None:
        raise UserError(f"the source {name} has the task {config.task} and needs documents: give a JSON Lines file")
    return Path(config.documents)


def check_languages(name: str, config: SourceConfig, index: DocumentIndex, columns: Iterable[int]) -> None:
    """Make sure that the documents have every language that is asked for.

    Raises:
        UserError: one that none of them is in.
    """
    present = {language for column in columns for language in index.names[column]}
    missing = [language for language in config.languages or () if language not in present]
    if missing:
        raise UserError(
            f"the source {name} wants language {', '.join(missing)}, which {config.documents} does not have; it has "
            f"{', '.join(sorted(present))}"
        )


def writing_tokens(name: str, config: SourceConfig, form: SequenceFormat) -> SequenceFormat:
    """How a source is written: its texts may write the control tokens that it names.

    Raises:
        UserError: the tokenizer has no such token, or it is a unit, a marker, or begins or ends turns.
    """
    try:
        return form.writing(config.control_tokens or ())
    except UserError as error:
        raise UserError(f"control_tokens of the source {name}: {error}") from None


def spelt_tokens(form: SequenceFormat, index: DocumentIndex) -> dict[str, int]:
    """The control tokens that the texts of documents spell and do not write, and in how many documents."""
    controls = form.encoder.controls
    own = form.vocabulary.num_text_ids if form.vocabulary is not None else None
    return {
        token: count
        for token, count in sorted(index.spelt.items())
        if token in controls and (own is None or controls[token] < own)
    }


def in_languages(config: SourceConfig, *languages: str) -> bool:
    """Whether a document in these languages is wanted."""
    return config.languages is None or all(language in config.languages for language in languages)
