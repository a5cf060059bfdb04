"""The card of a data set: what is in it, how it was made, and how it is opened; with the Hub's front matter.

The front matter is that of the Hub (https://huggingface.co/docs/hub/datasets-cards). All facts come from the corpus's
files. What no file says is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from cslm.publishing.corpus_files import CorpusFiles
from cslm.publishing.markdown_table import markdown_table

UTTERANCES = "utterances"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_VOICES_SHOWN = 20


@dataclass
class SplitFacts:
    """What one split of the utterances holds, in one language."""

    num_utterances: int = 0
    audio_sec: float = 0.0
    """of those whose length the manifest says"""
    speakers: dict[str, int] = field(default_factory=dict)
    """utterances by speaker"""


@dataclass(frozen=True)
class DatasetFacts:
    """What was counted while the data set was written."""

    splits: Mapping[tuple[str, str], SplitFacts]
    """by split and language"""
    columns: Sequence[str]
    """of the utterances"""
    documents: Mapping[str, tuple[int, Sequence[str]]]
    """number and fields of each kind of documents"""


def dataset_card(
    corpus: CorpusFiles, facts: DatasetFacts, name: str, licence: str | None, configurations: list[dict[str, Any]]
) -> str:
    """The card, in Markdown with YAML front matter.

    Args:
        corpus: what the data set was made from.
        facts: what is in it.
        name: NAME/SET of the Hub, or a name: its title, and what the example opens.
        licence: the Hub's name of a licence; None leaves it out.
        configurations: name and data files of each, as the Hub wants them.
    """
    parts = [
        _front_matter(corpus, facts, name, licence, configurations),
        f"# {name.rpartition('/')[2]}",
        _opening(facts, name),
        _counts(facts),
        *_documents(facts),
        *_making(corpus),
        *_voices(facts),
        *_left_out(corpus),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(
    corpus: CorpusFiles, facts: DatasetFacts, name: str, licence: str | None, configurations: list[dict[str, Any]]
) -> str:
    languages = sorted({language.partition("-")[0] for _, language in facts.splits})
    total = sum(split.num_utterances for split in facts.splits.values())
    size = next((told for most, told in _SIZES if total < most), "1M<n<10M")
    tasks = ["automatic-speech-recognition", "text-to-speech", *(["question-answering"] if _asked(facts) else [])]
    values = {
        "pretty_name": name.rpartition("/")[2],
        "language": languages,
        "license": licence,
        "task_categories": tasks,
        "size_categories": [size],
        "tags": ["cslm", "speech", *(["synthetic"] if corpus.card() else [])],
        "configs": configurations,
    }
    told = {key: value for key, value in values.items() if value}
    return f"---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---"


def _asked(facts: DatasetFacts) -> list[str]:
    """Documents that answer a recorded question."""
    return [name for name, (_, fields) in facts.documents.items() if {"question", "answer_text"} <= set(fields)]


def _opening(facts: DatasetFacts, name: str) -> str:
    split = next((split for split, _ in facts.splits if "train" in split), next(iter(facts.splits))[0])
    options = {"id": "id", **{column: column for column in facts.columns if column in _READ_BACK}}
    flags = " ".join(f"--{key}_column {column}" for key, column in options.items())
    return (
        "Each row of `utterances` is one recording with its text. Documents name the recordings by `id`.\n\n"
        "```python\nimport datasets\n\n"
        f'rows = datasets.load_dataset("{name}", "{UTTERANCES}", split="{split}")\n{_joined(facts, name)}```\n\n'
        "As a corpus that `cslm` tokenizes and trains on:\n\n"
        f"```bash\ncslm prepare-corpus hugging_face OUT --dataset {name} --subset {UTTERANCES} --split {split} \\\n"
        f"    {flags}\n```"
    )


def _joined(facts: DatasetFacts, name: str) -> str:
    """How a document's recording is found, where there are such documents."""
    if not _asked(facts):
        return ""
    documents = _asked(facts)[0]
    return (
        f'{documents} = datasets.load_dataset("{name}", "{documents}", split="all")\n'
        'places = {name: place for place, name in enumerate(rows["id"])}\n'
        f'question = rows[places[{documents}[0]["question"]]]["audio"]  # of the first document\n'
    )


_READ_BACK = ("language", "speaker", "group", "document", "place", "words", "duration_sec")
"""Columns that the reader of data sets takes when it is told their names."""


def _counts(facts: DatasetFacts) -> str:
    rows = [
        [split, language, f"{found.num_utterances:,}", f"{found.audio_sec / 3600:.3f}", f"{len(found.speakers):,}"]
        for (split, language), found in facts.splits.items()
    ]
    return "## Utterances\n\n" + markdown_table(["split", "language", "utterances", "hours", "speakers"], rows)


def _documents(facts: DatasetFacts) -> list[str]:
    rows = [[f"`{name}`", f"{count:,}", ", ".join(fields)] for name, (count, fields) in facts.documents.items()]
    return ["## Documents\n\n" + markdown_table(["configuration", "documents", "fields"], rows)] if rows else []


def _making(corpus: CorpusFiles) -> list[str]:
    rows = [[f"`{key}`", f"`{value}`"] for key, value in corpus.configuration().items()]
    steps = [[step, by] for step, by in corpus.steps().items()]
    tables = [markdown_table(["step", "by"], steps)] if steps else []
    if rows:
        tables += ["Options of `cslm prepare-corpus`:", markdown_table(["option", "value"], rows)]
    return ["## How it was made", *tables] if tables else []


def _voices(facts: DatasetFacts) -> list[str]:
    voices: dict[str, dict[str, int]] = {}
    for (_, language), found in facts.splits.items():
        told = voices.setdefault(language, {})
        for speaker, count in found.speakers.items():
            told[speaker] = told.get(speaker, 0) + count
    rows = []
    for language, told in sorted(voices.items()):
        names = [f"{speaker} ({count:,})" for speaker, count in sorted(told.items())]
        more = f", and {len(names) - _VOICES_SHOWN:,} more" if len(names) > _VOICES_SHOWN else ""
        rows.append([language, f"{len(names):,}", ", ".join(names[:_VOICES_SHOWN]) + more])
    rows = [row for row in rows if row[2]]
    return ["## Voices\n\n" + markdown_table(["language", "voices", "utterances of each"], rows)] if rows else []


def _left_out(corpus: CorpusFiles) -> list[str]:
    rows = [[kind, f"{count:,}"] for kind, count in sorted(corpus.rejected().items())]
    return ["## Left out\n\n" + markdown_table(["why", "how many"], rows)] if rows else []
