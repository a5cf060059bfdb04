"""The time line of a streamed reply as inline SVG: what was written, when its sound came, when it is heard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from cslm.generation.time_line import played

_WIDTH, _ROW, _LEFT, _RIGHT = 640, 22, 118, 14
_KINDS = {"reads": "text before the answer", "text": "text of a chunk", "units": "its units", "sound": "sound"}

Bar = tuple[str, float, float, str]
"""kind, from, to (seconds), what it says when it is pointed at"""


def time_line_chart(line: Mapping[str, Any]) -> str:
    """A chart of what :func:`cslm.generation.time_line.time_line` gives, with a sentence and a legend."""
    stretches = played([(came, lasts) for came, lasts in line["sounds"]])
    rows = [*_written(line), *_sounding(line, stretches)]
    end = max([line["end_sec"], *(bar[2] for _, bars in rows for bar in bars)])
    height = _ROW * len(rows) + 30
    label = "Time line of a reply: when each part was written, given out and heard"
    body = "".join([*_grid(end, height), *(_row(number, name, bars, end) for number, (name, bars) in enumerate(rows))])
    legend = "".join(f'<li><span class="swatch {kind}"></span>{name}</li>' for kind, name in _KINDS.items())
    return (
        f'<p>{escape(_sentence(line, stretches))}</p><figure class="time-line"><svg viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{label}">{body}</svg>'
        f'<figcaption><ul class="legend">{legend}</ul></figcaption></figure>'
    )


def _sentence(line: Mapping[str, Any], stretches: Sequence[tuple[float, float]]) -> str:
    whole = f"{line['num_ids']} ids in {line['end_sec']:.2f} s"
    if not stretches:
        return f"{whole}, without sound."
    waits = [later[0] - before[1] for before, later in pairwise(stretches)]
    dry = f"waits {len(waits)} times, {sum(waits):.2f} s in all" if waits else "never waits"
    sound = sum(lasts for _, lasts in line["sounds"])
    return (
        f"{whole}. The first sound comes after {stretches[0][0]:.2f} s; {sound:.2f} s are spoken, and a player "
        f"that begins at once {dry}."
    )


def _written(line: Mapping[str, Any]) -> list[tuple[str, list[Bar]]]:
    """A row for what stands before the answer, and one for each chunk: a part begins where the one before ends."""
    rows: list[tuple[str, list[Bar]]] = []
    last = line["heard_sec"]
    parts = [("before the answer", [("reads", line["before_answer_sec"])])]
    for number, chunk in enumerate(line["chunks"], 1):
        parts.append((f"chunk {number}", [("text", chunk["text_sec"]), ("units", chunk["units_sec"])]))
    for name, kinds in parts:
        bars: list[Bar] = []
        for kind, times in kinds:
            if times:
                bars.append((kind, last, times[-1], f"{_KINDS[kind]}: {last:.2f} to {times[-1]:.2f} s"))
                last = times[-1]
        if bars:
            rows.append((name, bars))
    return rows


def _sounding(line: Mapping[str, Any], stretches: Sequence[tuple[float, float]]) -> list[tuple[str, list[Bar]]]:
    if not stretches:
        return []
    came: list[Bar] = [("sound", at, at, f"{lasts:.2f} s of sound at {at:.2f} s") for at, lasts in line["sounds"]]
    heard: list[Bar] = [("sound", start, end, f"heard: {start:.2f} to {end:.2f} s") for start, end in stretches]
    return [("sound comes", came), ("sound is heard", heard)]


def _x(seconds: float, end: float) -> float:
    return _LEFT + seconds / (end or 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _row(number: int, name: str, bars: Sequence[Bar], end: float) -> str:
    top = _ROW * number + 4
    parts = [f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>']
    for kind, start, stop, title in bars:
        width = max(2.0, _x(stop, end) - _x(start, end))
        parts.append(
            f'<rect class="{kind}" x="{_x(start, end):.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 6}" rx="2">'
            f"<title>{escape(title)}</title></rect>"
        )
    return "".join(parts)


def _grid(end: float, height: int) -> list[str]:
    step = next((size for size in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if end / size <= 8), 60.0)
    parts = []
    for index in range(int(end / step) + 1):
        x = _x(index * step, end)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{height - 24}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{index * step:g} s</text>')
    return parts
