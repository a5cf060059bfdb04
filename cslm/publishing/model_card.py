"""The model card of a checkpoint: what it was trained on, with what, for how long, and how it scores.

The front matter is that of the Hub (https://huggingface.co/docs/hub/model-cards). All facts come from files: of the run
and of those that it started from ``config.yaml`` and ``finished.json``; then ``config.json``, the speech tokenizer's
card, the headers of the documents and ``results.json``. What no file says is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cslm.chosen_section import chosen_section
from cslm.codecs.card import load_card
from cslm.configuration import load_configuration
from cslm.corpora.text_documents import HEADER
from cslm.encoders.encoders import source_of
from cslm.evaluation.scores import score_tables
from cslm.model.checkpoint import SPEECH_FOLDER, SPEECH_KEY, check_checkpoint
from cslm.model.speech_prompt.prompt_checkpoint import (
    ENCODER_FOLDER,
    LLM_FOLDER,
    SETTINGS_FILE,
    holds_prompt,
    is_whole,
)
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.publishing.markdown_table import markdown_table

WRITTEN_BY_US = "<!-- cslm push-to-hub wrote this card and writes it again; without this line it is left as it is. -->"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Run:
    """One finished training run of the chain that led to a checkpoint."""

    name: str
    """of its folder"""
    config: dict[str, Any]
    """``config.yaml``: how it was configured"""
    facts: dict[str, Any]
    """``finished.json``: what it did"""
    folder: Path
    """where it lies now"""

    @property
    def base(self) -> str | None:
        """The checkpoint that it started from: a run's folder or a name on the Hub; None for a model from scratch."""
        return (self.config.get("model") or {}).get("base")

    def locate(self, name: str) -> Path:
        """Where a path of the configuration is: below its data root, as it stands, or beside the run."""
        places = [Path(self.config.get("data_root") or ".") / name, Path(name), self.folder.parent / Path(name).name]
        return next((place for place in places if place.exists()), places[0])


def model_card(folder: Path, name: str, results: Mapping[str, Any] | None = None, licence: str | None = None) -> str:
    """The card of the checkpoint in ``folder``, in Markdown with YAML front matter.

    Args:
        name: the model's name: its title, and what the example opens.
        results: what ``score`` wrote.
        licence: the Hub's name of a licence; None leaves it out.

    Raises:
        UserError: ``folder`` holds no whole checkpoint.
    """
    config = check_checkpoint(folder)
    runs = training_runs(folder)
    of_kind = [_prompt_introduction(folder, name)] if holds_prompt(folder) else _own_kind(config, folder, name)
    parts = [
        _front_matter(config, runs, folder, licence),
        f"# {name.rpartition('/')[2]}",
        *of_kind,
        *([_training(runs)] if runs else []),
        *([_scores(results)] if results else []),
        *_versions(config, runs),
        WRITTEN_BY_US,
    ]
    return "\n\n".join(parts) + "\n"


def _own_kind(config: Mapping[str, Any], folder: Path, name: str) -> list[str]:
    """What is said of a model of text and units alone."""
    tokenizer = [_speech_tokenizer(config[SPEECH_KEY], folder)] if SPEECH_KEY in config else []
    return [_introduction(config, name), *tokenizer, _vocabulary(config)]


def _prompt_introduction(folder: Path, name: str) -> str:
    """What a checkpoint of ``train-prompt`` is, what it is trained before, and how it is opened."""
    settings = load_configuration(PromptSettings, folder / SETTINGS_FILE)
    connector, _ = chosen_section(settings.connector, "connector")
    source, revision = source_of(settings.encoder)
    rows = [
        ["connector", f"`{connector}`"],
        ["language model", f"{settings.llm}, revision {settings.revision or 'not named'}"],
        ["encoder", f"{source}, revision {revision or 'not named'}"],
        ["languages that it tells apart", ", ".join(settings.languages)],
    ]
    if is_whole(folder):
        rows[1:3] = [["language model", f"in `{LLM_FOLDER}/`"], ["encoder", f"in `{ENCODER_FOLDER}/`"]]
    what = "connector, language model and encoder" if is_whole(folder) else "the trained part, before frozen ones"
    return (
        f"A language model that hears recordings as vectors and answers in text ({what}), trained with `cslm`:\n\n"
        f'```python\nfrom cslm import CSLMForCausalLM\n\nmodel = CSLMForCausalLM.from_pretrained("{name}")\n'
        'reply = model.respond("question.wav")\n```\n\nOther frozen parts than these are refused, by a hash of their '
        f"tensors.\n\n{markdown_table(['', ''], [row for row in rows if row[1]])}"
    )


def training_runs(folder: Path) -> list[Run]:
    """The run in ``folder`` and those that it started from, as far as their folders are found; the newest first."""
    runs: list[Run] = []
    place: Path | None = folder
    while place is not None and (place / "finished.json").is_file() and (place / "config.yaml").is_file():
        if any(run.folder.resolve() == place.resolve() for run in runs):
            break
        config = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
        facts = json.loads((place / "finished.json").read_text(encoding="utf-8"))
        runs.append(Run(place.resolve().name, config, facts, place))
        base = runs[-1].base
        place = runs[-1].locate(base) if base is not None else None
    return runs


def _front_matter(config: Mapping[str, Any], runs: Sequence[Run], folder: Path, licence: str | None) -> str:
    has_speech, is_prompt = SPEECH_KEY in config, holds_prompt(folder)
    base = runs[-1].base if runs else None
    is_hub_id = base is not None and _HUB_ID.fullmatch(base) is not None and not runs[-1].locate(base).exists()
    datasets = sorted({header["dataset"] for run in runs for header in _headers(run).values() if header["revision"]})
    values = {
        "language": _languages(folder),
        "license": licence,
        "library_name": "cslm" if is_prompt else "transformers",
        "pipeline_tag": "audio-text-to-text" if is_prompt else "any-to-any" if has_speech else "text-generation",
        "base_model": base if is_hub_id else None,
        "datasets": datasets,
        "tags": ["cslm", *(["speech", "speech-language-model", "discrete-units"] if has_speech else [])],
    }
    text = yaml.safe_dump({key: value for key, value in values.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---"


def _languages(folder: Path) -> list[str]:
    """Languages of what was learnt, from the groups of the log (``task/modality/language``), without regions."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    groups = {group for row in rows for group in row.get("groups", ())}
    return sorted({group.rpartition("/")[2].partition("-")[0] for group in groups if group.count("/") == 2} - {""})


def _introduction(config: Mapping[str, Any], name: str) -> str:
    kind = (config.get("architectures") or [config.get("model_type", "causal language model")])[0]
    if SPEECH_KEY not in config:
        return f"A text language model ({kind}), trained with `cslm`. `AutoModelForCausalLM` opens it."
    if "end_of_document" in config[SPEECH_KEY]:
        return (
            f"A textless language model ({kind}): it reads and writes speech units alone, trained with `cslm`.\n"
            "`AutoModelForCausalLM` opens it as a model of units; with `cslm` it hears, and goes on speaking:\n\n"
            f'```python\nfrom cslm import CSLMForCausalLM\n\nmodel = CSLMForCausalLM.from_pretrained("{name}")\n'
            'said = model.continue_speech("beginning.wav", seconds=10)\n```'
        )
    return (
        f"A language model ({kind}) that reads and writes text and speech units, trained with `cslm`.\n"
        "`AutoModelForCausalLM` opens it as a model of text and units; with `cslm` it hears and speaks:\n\n"
        f'```python\nfrom cslm import CSLMForCausalLM\n\nmodel = CSLMForCausalLM.from_pretrained("{name}")\n'
        'reply = model.respond("question.wav")\n```'
    )


def _speech_tokenizer(section: Mapping[str, Any], folder: Path) -> str:
    rows: dict[str, Any] = {"fingerprint": f"`{section['fingerprint']}`"}
    if (folder / SPEECH_FOLDER / "card.yaml").is_file():
        card = load_card(folder / SPEECH_FOLDER)
        rows = {"card": card.name, "family": f"`{card.family}`", **rows}
        rows |= {"sample rate": f"{card.sample_rate_hz:,} Hz", "frames a second": f"{card.frame_rate_hz:g}"}
        if card.weights is not None and _HUB_ID.fullmatch(card.weights.source):
            rows["weights"] = f"{card.weights.source}, revision {card.weights.revision or 'not named'}"
    rows["codebooks"] = ", ".join(f"{size:,} units" for size in section["codebook_sizes"])
    decoder = (folder / SPEECH_FOLDER / "decoder" / "config.json").is_file()
    rows["decoder to a waveform"] = "in `speech/decoder/`" if decoder else "none"
    return "## Speech tokenizer\n\n" + markdown_table(["", ""], [[key, value] for key, value in rows.items()])


def _vocabulary(config: Mapping[str, Any]) -> str:
    rows: list[list[Any]] = []
    section = config.get(SPEECH_KEY)
    if section is not None:
        first, num_units = section["first_unit_id"], sum(section["codebook_sizes"])
        if section["num_text_ids"]:
            rows.append(["text", f"0 to {section['num_text_ids'] - 1:,}"])
        rows.append(["units", f"{first:,} to {first + num_units - 1:,}"])
        markers = {"<sosp>": "sosp", "<eosp>": "eosp", "[question]": "question", "[answer]": "answer"}
        rows += [[f"`{form}`", f"{section[key]:,}"] for form, key in markers.items() if key in section]
        if "end_of_document" in section:
            rows.append(["end of a document", f"{section['end_of_document']:,}"])
    text = config.get("text_config") or config
    rows.append(["rows of the embedding", f"{text.get('vocab_size', 0):,}"])
    return "## Vocabulary\n\n" + markdown_table(["what", "ids"], rows)


def _training(runs: Sequence[Run]) -> str:
    """A section for each run, in the order in which they were trained."""
    return "\n\n".join(["## Training", *(_one_run(run) for run in reversed(runs))])


_SETTINGS = (
    ("optimizer", "optimizer.name", "optimizer"),
    ("learning_rate", "learning_rate"),
    ("precision", "device.precision", "precision"),
)
"""what is said of a run's training, and where its configuration has it, now or before settings stood in groups"""


def _setting(training: dict[str, Any], *names: str) -> Any:
    """The first of the names, with dots between group and setting, that stands there."""
    for name in names:
        found: Any = training
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def _one_run(run: Run) -> str:
    facts, training = run.facts, run.config.get("training") or {}
    consumed, headers = facts.get("consumed", {}), _headers(run)
    start = f"from `{run.base if _HUB_ID.fullmatch(run.base) else Path(run.base).name}`" if run.base else "from scratch"
    known = {key: _setting(training, *names) for key, *names in _SETTINGS}
    settings = ", ".join(f"{key} {value}" for key, value in known.items() if value is not None)
    rows = []
    for name, source in (run.config.get("sources") or {}).items():
        of = headers.get(name)
        data = f"{of['dataset']} ({of['split']}), revision {of['revision'] or of['content']}" if of else ""
        weight, languages = source.get("weight", 0), ", ".join(source.get("languages") or ["all"])
        rows.append([name, source.get("task", ""), f"{weight:g}", languages, f"{consumed.get(name, 0):,}", data])
    header = ["source", "task", "weight", "languages", "tokens consumed", "data set"]
    if not headers:
        header, rows = header[:-1], [row[:-1] for row in rows]
    notes = [f"- {what}: {count:,} documents" for what, count in facts.get("notes", {}).items()]
    dropped = "\n".join(["Dropped or cut:", "", *notes]) if notes else "No document was dropped or cut."
    line = f"### {run.name}, {start}\n\n{facts.get('steps', 0):,} steps, {facts.get('tokens', 0):,} tokens. {settings}."
    return "\n\n".join([line, markdown_table(header, rows), dropped])


def _headers(run: Run) -> dict[str, dict[str, Any]]:
    """The header of each source whose documents are shards of a data set."""
    headers = {}
    for name, source in (run.config.get("sources") or {}).items():
        if source.get("documents") is not None:
            path = run.locate(source["documents"]) / HEADER
            header = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            if "dataset" in header:  # else another tool's
                headers[name] = header
    return headers


def _scores(results: Mapping[str, Any]) -> str:
    tables = [f"### {heading}\n\n{table}" for heading, table in score_tables(results)]
    small = "Small figures are 95 % intervals. `cslm score` made them."
    return "\n\n".join(["## Scores", small, *tables])


def _versions(config: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    versions = runs[0].facts.get("versions") if runs else None
    if versions is None and "transformers_version" in config:
        versions = {"transformers": config["transformers_version"]}
    rows = [[key, value] for key, value in (versions or {}).items()]
    return ["## Versions\n\n" + markdown_table(["package", "version"], rows)] if rows else []
