"""Counters and durations, as Prometheus reads them."""

from __future__ import annotations

import threading
from collections.abc import Mapping

_BORDERS_SEC = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_HELP = {
    "cslm_requests_total": "Requests by route and status.",
    "cslm_replies_total": "Replies by how they ended.",
    "cslm_ids_written_total": "Ids that the model wrote.",
    "cslm_prompt_ids_total": "Ids of prompts that the model read.",
    "cslm_engine_failures_total": "Prompts that could not be read, and batches that failed.",
    "cslm_audio_sent_seconds_total": "Seconds of sound that were sent.",
    "cslm_step_seconds": "One forward pass over all rows of a batch.",
    "cslm_prompt_seconds": "One reading of new prompts.",
    "cslm_first_audio_seconds": "From the end of the question to the first sound that is sent.",
    "cslm_replies_open": "Replies that are being written.",
    "cslm_replies_waiting": "Requests that wait for a place.",
    "cslm_sessions_open": "Open WebSockets.",
    "cslm_engine_up": "Whether the engine works.",
}


class Metrics:
    """What happened so far. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], float] = {}
        self._durations: dict[str, list[float]] = {}  # by name: a count for each border, one beyond, and the sum

    def count(self, name: str, labels: Mapping[str, str] | None = None, by: float = 1.0) -> None:
        """Add to a counter."""
        key = (name, _labels(labels or {}))
        with self._lock:
            self._counts[key] = self._counts.get(key, 0.0) + by

    def observe(self, name: str, seconds: float) -> None:
        """Add a duration."""
        with self._lock:
            found = self._durations.setdefault(name, [0.0] * (len(_BORDERS_SEC) + 2))
            found[sum(seconds > border for border in _BORDERS_SEC)] += 1
            found[-1] += seconds

    def stepped(self, num_ids: int, seconds: float) -> None:
        """A forward pass wrote so many ids."""
        self.count("cslm_ids_written_total", by=num_ids)
        self.observe("cslm_step_seconds", seconds)

    def prompted(self, num_ids: int, seconds: float) -> None:
        """New prompts were read, of so many ids together."""
        self.count("cslm_prompt_ids_total", by=num_ids)
        self.observe("cslm_prompt_seconds", seconds)

    def value(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """Of a counter."""
        with self._lock:
            return self._counts.get((name, _labels(labels or {})), 0.0)

    def text(self, gauges: Mapping[str, float]) -> str:
        """Everything, and values of now, in the text format."""
        with self._lock:
            counts, durations = dict(self._counts), {name: list(found) for name, found in self._durations.items()}
        lines: list[str] = []
        for name in dict.fromkeys(name for name, _ in sorted(counts)):
            lines += _head(name, "counter")
            lines += [
                f"{name}{labels} {_number(value)}" for (one, labels), value in sorted(counts.items()) if one == name
            ]
        for name, found in sorted(durations.items()):
            lines += _head(name, "histogram")
            total = 0.0
            for border, number in zip((*_BORDERS_SEC, None), found[:-1], strict=True):
                total += number
                lines.append(f'{name}_bucket{{le="{"+Inf" if border is None else border}"}} {_number(total)}')
            lines += [f"{name}_sum {found[-1]:.6f}", f"{name}_count {_number(total)}"]
        for name, value in gauges.items():
            lines += [*_head(name, "gauge"), f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} {kind}"]


def _number(value: float) -> str:
    """All its digits: a counter that is rounded seems to stand still."""
    return str(int(value)) if value == int(value) else repr(value)


def _labels(labels: Mapping[str, str]) -> str:
    """Written out; the values are ours, never a client's."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}" if labels else ""
