"""The report of a run as one self-contained page: ``python recipes/report.py OUT`` writes ``OUT/report.html``."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.evaluation.score_tables import Scores, Table, html_table
from cslm.evaluation.scores import score_tables
from cslm.files.atomic_file import write_atomically
from cslm.files.json_lines import read_json_lines
from cslm.publishing.report_style import STYLE
from cslm.publishing.sequence_html import sequence_html
from cslm.publishing.stage_seconds import read_stage_seconds
from cslm.publishing.svg_chart import line_chart, thinned
from cslm.publishing.time_line_chart import time_line_chart

_LAYOUT = {"marker", "template"}


@dataclass
class ReportConfig:
    """The report of one run."""

    run: str
    """folder of the run, with results.json"""
    output: str | None = None
    """page to write; null writes report.html into the run"""
    title: str = "A voice that answers"
    """heading of the page"""
    answers: str = "answers"
    """folder of questions and answers in the run: NAME.question.wav, NAME.answer.wav and NAME.json, and beside them
    NAME.time_line.json where the times were kept"""
    stages: str = ".stages"
    """folder of STAGE.json files with `seconds` in the run"""


def report(config: ReportConfig) -> Path:
    """Write the page; a part whose files are not there is left out. Returns where it is.

    Raises:
        UserError: no results.json, or a file that cannot be read.
    """
    run = Path(config.run)
    results = _read_json(run / "results.json")
    if (run / config.stages).is_dir():
        results["seconds"] = read_stage_seconds(run / config.stages)
    tables = score_tables(results, str(run / "results.json"))
    sections: list[tuple[str, str]] = [*tables, *_time_table(results.get("seconds", {}))]
    answers = _read_answers(run / config.answers)
    if answers:
        sections.insert(0, ("Questions and answers", "".join(_player(*answer) for answer in answers)))
        longest = max((reply for _, reply, _, _ in answers), key=lambda reply: len(reply["segments"]))
        sections.append(("One dialogue as the model reads and writes it", sequence_html(longest)))
    sections += _time_lines(run / config.answers)
    sections += [(f"Loss: {metrics.parent.name}", _loss_chart(metrics)) for metrics in _by_time(run)]
    page = _page(config.title, _subtitle(results), sections)
    output = Path(config.output) if config.output is not None else run / "report.html"
    write_atomically(output, page.encode("utf-8"))
    print(f"{output}: written", flush=True)
    return output


def _subtitle(results: dict[str, Any]) -> str:
    known = {"seed": results.get("seed"), "cores": results.get("cores")}
    minutes = results.get("seconds", {}).get("total", 0) / 60
    facts = [f"{name} {value}" for name, value in known.items() if value is not None]
    return ", ".join([*facts, *([f"{minutes:.0f} minutes in all"] if minutes else [])])


def _time_table(seconds: dict[str, float]) -> list[Table]:
    """How long each stage took, if it is known."""
    if not seconds:
        return []
    stages = {stage: {"seconds": value} for stage, value in seconds.items()}
    return [Table("Time", html_table(stages, [("minutes", "seconds", _minutes)]))]


def _minutes(stage: Scores, name: str) -> str:
    return f"{stage[name] / 60:.1f}"


def _by_time(run: Path) -> list[Path]:
    """The metrics of the run's stages, in the order in which they began."""
    return sorted(run.glob("*/metrics.jsonl"), key=lambda path: ((path.parent / "config.yaml").stat().st_mtime
                  if (path.parent / "config.yaml").is_file() else path.stat().st_mtime, path))  # fmt: skip


def _loss_chart(metrics: Path) -> str:
    """Loss over tokens by task and modality: the mean over languages, without markers and templates (soon learnt)."""
    series: dict[str, list[tuple[float, float]]] = {}
    for number, row in read_json_lines(metrics):
        if "tokens" not in row or not isinstance(row.get("groups"), dict):
            raise UserError(f"{metrics}, line {number}: no tokens or no groups: it is no log of a training run")
        kinds: dict[str, list[float]] = {}
        for group, loss in row["groups"].items():
            task, *modality = group.split("/")[:2]
            if not set(modality) & _LAYOUT:
                kinds.setdefault(", ".join([task, *modality]), []).append(loss)
        for kind, losses in kinds.items():
            series.setdefault(kind, []).append((row["tokens"], sum(losses) / len(losses)))
    return line_chart({kind: thinned(points) for kind, points in sorted(series.items())}, "tokens", "loss, nats")


def _time_lines(folder: Path) -> list[Table]:
    """The streamed reply that has the most chunks, if the times of any were kept."""
    lines = {path: _read_json(path) for path in sorted(folder.glob("*.time_line.json"))}
    for path, line in lines.items():
        if not {"heard_sec", "before_answer_sec", "chunks", "sounds", "end_sec", "num_ids"} <= set(line):
            raise UserError(f"{path} holds no time line of a reply: remove it, or answer the question again")
    if not lines:
        return []
    path = max(lines, key=lambda path: len(lines[path]["chunks"]))
    name = path.name.removesuffix(".time_line.json")
    return [Table(f"A streamed reply, moment by moment: {name}", time_line_chart(lines[path]))]


Answer = tuple[str, dict[str, Any], Path, Path]


def _read_answers(folder: Path) -> list[Answer]:
    """(name, what ``respond --json`` wrote, question, answer) for each answer that is whole."""
    found = []
    for path in sorted(folder.glob("*.json")):
        question, answer = folder / f"{path.stem}.question.wav", folder / f"{path.stem}.answer.wav"
        if question.is_file() and answer.is_file():
            found.append((path.stem, _read_json(path), question, answer))
    return found


def _player(name: str, reply: dict[str, Any], question: Path, answer: Path) -> str:
    return (
        f'<div class="answer"><h3>{escape(name)}</h3>'
        f"<p>{_audio(question, 'question')}<q>{escape(reply['question'] or '')}</q></p>"
        f"<p>{_audio(answer, 'answer')}<q>{escape(reply['answer'])}</q></p></div>"
    )


def _audio(path: Path, label: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<audio controls preload="metadata" aria-label="{label}" src="data:audio/wav;base64,{content}"></audio>'


def _page(title: str, subtitle: str, sections: Sequence[tuple[str, str]]) -> str:
    body = "\n".join(f"<section><h2>{escape(heading)}</h2>\n{content}</section>" for heading, content in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>\n{body}\n"
        "<p><small>Small figures are 95 % intervals: bootstrap over items for error rates, Wilson for shares. "
        "Losses are of one task and modality, without markers and templates; the figure is the last.</small></p>"
        "</main></body>\n</html>\n"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file: run recipes/score.py first") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): make it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object: make it again")
    return content


def main(arguments: list[str]) -> None:
    """Parse ``OUT [--output PAGE.html]`` and write the report."""
    report(parse_configuration(ReportConfig, arguments, "report", ("run",)))
