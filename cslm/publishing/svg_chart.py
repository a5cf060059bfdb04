"""Line charts as inline SVG, with a legend, for a page that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#3b6fb6", "#d1603d", "#3a9270", "#a3539b", "#b58a1b", "#4aa3c0", "#c24b6e", "#6d7f2f", "#7a5cc4", "#8a6a55")
_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_STEPS = (1.0, 2.0, 5.0)

Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], x_label: str, y_label: str) -> str:
    """A chart of named lines over a linear x and a logarithmic y; points that are not positive are left out."""
    lines = {name: [(x, y) for x, y in points if y > 0] for name, points in series.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return "<p>nothing was logged</p>"
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    span = _Span(0.0, max(xs) or 1.0, math.log10(min(ys)) - 0.03, math.log10(max(ys)) + 0.03)
    body = [*_grid(span, x_label, y_label)]
    for index, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{span.x(x):.1f},{span.y(y):.1f}" for x, y in points)
        colour = COLOURS[index % len(COLOURS)]
        dash = ' stroke-dasharray="6 3"' if index >= len(COLOURS) else ""
        body.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}>'
            f"<title>{escape(name)}</title></polyline>"
        )
    label = escape(f"{y_label} over {x_label}")
    chart = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    return f'<figure class="chart">{chart}{_legend(lines)}</figure>'


def thinned(points: Points, most: int = 120) -> list[tuple[float, float]]:
    """At most ``most`` points: means over equal runs of them."""
    size = max(1, -(-len(points) // most))
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(run[-1][0], math.fsum(y for _, y in run) / len(run)) for run in runs]


class _Span:
    """Data to pixels."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self.left, self.right, self.bottom, self.top = left, right, bottom, top

    def x(self, value: float) -> float:
        return _LEFT + (value - self.left) / (self.right - self.left) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.bottom) / (self.top - self.bottom)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _grid(span: _Span, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in _log_ticks(span.bottom, span.top):
        y = span.y(value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(span.right):
        x = span.x(value)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_short(value)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    height = (_HEIGHT - _BOTTOM) / 2
    turned = f'transform="rotate(-90 12 {height})"'
    parts.append(f'<text x="12" y="{height}" text-anchor="middle" {turned}>{escape(y_label)}</text>')
    return parts


def _legend(lines: Mapping[str, Points]) -> str:
    items = [
        f'<li><span class="swatch" style="background:{COLOURS[index % len(COLOURS)]}"></span>{escape(name)} '
        f"<small>{points[-1][1]:.3g}</small></li>"
        for index, (name, points) in enumerate(lines.items())
    ]
    return f'<figcaption><ul class="legend">{"".join(items)}</ul></figcaption>'


def _log_ticks(bottom: float, top: float) -> list[float]:
    ticks = [step * 10.0**power for power in range(math.floor(bottom), math.ceil(top) + 1) for step in _STEPS]
    return [tick for tick in ticks if bottom <= math.log10(tick) <= top]


def _ticks(right: float) -> list[float]:
    rough = right / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (*_STEPS, 10.0) if factor * power >= rough), 10.0 * power)
    return [step * index for index in range(int(right / step) + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"
