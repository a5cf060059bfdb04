"""The scores of results.json as HTML tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

Scores = Mapping[str, Any]
Format = Callable[[Scores, str], str]


def percent(scores: Scores, name: str) -> str:
    """A rate in percent, with its interval small beside it; a dash where there is none."""
    value = scores.get(name)
    if value is None:
        return "–"
    low_high = scores.get(f"{name}_interval")
    small = f" <small>{100 * low_high[0]:.1f}–{100 * low_high[1]:.1f}</small>" if low_high else ""
    return f"{100 * value:.1f} %{small}"


def decibels(scores: Scores, name: str) -> str:
    """A number of decibels."""
    value = scores.get(name)
    return "–" if value is None else f"{value:.2f} dB"


def count(scores: Scores, name: str) -> str:
    """A number of items."""
    value = scores.get(name)
    return "–" if value is None else f"{value:,}"


def score_tables(results: Scores) -> list[tuple[str, str]]:
    """(heading, table) for each kind of score that there is."""
    tables = []
    if "asr" in results:
        columns: list[tuple[str, str, Format]] = [
            ("error rate", "rate", percent),
            ("n", "n", count),
            ("a voice never heard", "unheard_voice", percent),
            ("n", "unheard_voice_n", count),
        ]
        tables.append(("Hearing: speech to text", _table(_with_rate(results["asr"]), columns)))
    if "tts" in results:
        columns = [
            ("re-recognised by the model", "rate", percent),
            ("units against the synthesizer's", "unit_error_rate", percent),
            ("mel-cepstral distortion", "mel_cepstral_distortion_db", decibels),
            ("heard by the other ear", "other_rate", percent),
            ("the synthesizer's own", "other_floor", percent),
            ("n", "n", count),
        ]
        tables.append(("Speaking: text to speech", _table(_with_rate(results["tts"]), columns)))
    if "dialogue" in results:
        columns = [
            ("text answers right", "text_accuracy", percent),
            ("spoken answers right", "speech_accuracy", percent),
            ("the other ear", "other_ear_accuracy", percent),
            ("heard against written", "asr_er", percent),
            ("transcript of the question", "question_er", percent),
            ("off target", "off_target", percent),
            ("n", "n", count),
        ]
        tables.append(("Answering: held-out spoken questions", _table(results["dialogue"], columns)))
        tables.append(
            ("Tokens before the first playable speech: full / interleaved order", _latency_table(results["dialogue"]))
        )
    if "seconds" in results:
        rows = {stage: {"seconds": seconds} for stage, seconds in results["seconds"].items()}
        tables.append(("Time", _table(rows, [("minutes", "seconds", _minutes)])))
    return tables


def _with_rate(scores: Scores) -> dict[str, dict[str, Any]]:
    """WER and CER under one key, and the other ear's scores beside the rest."""
    rows = {}
    for name, values in scores.items():
        key = "cer" if "cer" in values else "wer"
        ear = values.get("other_ear", {})
        rows[f"{name} ({key.upper()})"] = {
            **values,
            **_renamed(values, key, "rate"),
            **_renamed(ear, key, "other_rate"),
            **_renamed(ear, f"floor_{key}", "other_floor"),
        }
    return rows


def _renamed(values: Scores, old: str, new: str) -> dict[str, Any]:
    return {f"{new}{end}": values[f"{old}{end}"] for end in ("", "_interval") if f"{old}{end}" in values}


def _latency_table(dialogue: Scores) -> str:
    """A row for each direction, a column for each number of chunks: how many times longer the full order takes."""
    rows = {direction: scores.get("tokens_to_first_speech", {}) for direction, scores in dialogue.items()}
    numbers = sorted({chunks for row in rows.values() for chunks in row}, key=int)
    return _table(rows, [(f"{chunks} chunk{'s' * (chunks != '1')}", chunks, _latency) for chunks in numbers])


def _latency(scores: Scores, name: str) -> str:
    value = scores.get(name)
    if value is None:
        return "–"
    small = f"{value['full']:.0f} / {value['interleaved']:.0f}, n {value['n']}"
    return f"{value['ratio']:.2f} × <small>{small}</small>"


def _minutes(scores: Scores, name: str) -> str:
    return f"{scores[name] / 60:.1f}"


def _table(rows: Mapping[str, Scores], columns: Sequence[tuple[str, str, Format]]) -> str:
    """A table; a column that no row has anything for is left out."""
    kept = [column for column in columns if any(row.get(column[1]) is not None for row in rows.values())]
    head = "".join(f"<th>{escape(title)}</th>" for title, _, _ in kept)
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{show(row, key)}</td>' for _, key, show in kept)}</tr>"
        for name, row in rows.items()
    )
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
