"""XS-CoT (arXiv 2504.20835) on the village: questions in fr, de and ja about facts that English text alone tells.

Direct answers, a transcript before the answer, the explicit chain through English, the semi-implicit chain, and the
chain removed altogether learn from the same documents in as many tokens, from one pre-trained model a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.figures import (
    Figure,
    Rows,
    difference,
    mean,
    relative_gain_figure,
    share_of_gap,
    shown,
)
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.text_ceiling import text_ceiling
from cslm.benchmarks.claims.worlds import make_units, score, train
from cslm.evaluation.facts import states_fact
from cslm.files.json_lines import read_json_lines

LANGUAGES = ("fr", "de", "ja")
DIRECT, TRANSCRIPT, EXPLICIT, COMPRESSED, REMOVED = (
    "direct", "transcript_then_answer", "xs_cot", "compressed", "removed",
)  # fmt: skip
CEILING = "english text"
WORLD = "xs_cot"


def pretrained(stages: Stages, seed: int) -> None:
    """What all arms of a seed start from: corpus, card, units, the text model, and one that hears."""
    make_units(stages, seed, WORLD, {"units": "corpus/train.jsonl"})
    for stage in ("text_lm", "pretrain"):
        train(stages, seed, WORLD, "pretrain", stage, (stage,))


def answered(stages: Stages, seed: int, arm: str) -> list[dict[str, Any]]:
    """The replies of an arm, trained and scored if it is not yet; each says ``about`` whom and what it is."""
    train(stages, seed, WORLD, "finetune", arm, ("train", arm))
    about = {row["id"]: row["about"] for row in _tests(stages)}
    return [
        {**reply, "about": about[reply["id"]]} for reply in _lines(score(stages, WORLD, arm, "score") / "replies.jsonl")
    ]


def reply_rows(seed: int, arm: str, replies: list[dict[str, Any]]) -> Iterator[Row]:
    """Accuracy of each answer by its fact, and the tokens and milliseconds before it, where there is one."""
    for reply in replies:
        code, item = reply["answer_language"], f"{reply['about']}/{reply['id']}"
        right = states_fact(reply["answer"], reply["fact"], reply["wrong_facts"], code)
        yield Row(arm, seed, item, f"accuracy {code}", float(right))
        for name in ("token_delay", "ms_to_answer"):
            if reply.get(name) is not None:
                yield Row(arm, seed, item, f"{name} {code}", float(reply[name]))


def _ceiling_rows(stages: Stages, seed: int) -> Iterator[Row]:
    """What the pre-trained model answers in English text, question by question."""
    tests = _tests(stages)
    found = text_ceiling(stages.folder / "pretrain", tests, stages.folder / "text_answers.json")
    for row in tests:
        item = f"{row['about']}/{row['id']}"
        yield Row(CEILING, seed, item, f"accuracy {row['answer_language']}", float(found[str(row["id"])]))


def _measure(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    pretrained(stages, seed)
    yield from _ceiling_rows(stages, seed)
    for arm in arms:
        yield from reply_rows(seed, arm, answered(stages, seed, arm))


def _gain_figures(rows: Rows) -> list[Figure]:
    figures = []
    for code in LANGUAGES:
        metric = f"accuracy {code}"
        name = f"{code}: explicit against direct, relative"
        figures.append(relative_gain_figure(name, rows, metric, EXPLICIT, DIRECT, 0.45))
        above = difference(rows, metric, EXPLICIT, TRANSCRIPT)
        met = above.low > 0 and above.signs_agree
        name = f"{code}: explicit - transcript then answer"
        figures.append(Figure(name, above.value, (above.low, above.high), "lower end above 0", met))
        ceiling = mean(rows, metric, CEILING).value
        closed = share_of_gap(rows, metric, EXPLICIT, DIRECT, ceiling)
        figures.append(Figure(f"{code}: share of the gap to English text that is closed", closed, None, "", None))
    return figures + _accuracies(rows, (DIRECT, TRANSCRIPT, EXPLICIT, CEILING))


def _delay_figures(rows: Rows) -> list[Figure]:
    figures = []
    for code in LANGUAGES:
        explicit = mean(rows, f"token_delay {code}", EXPLICIT).value
        saved = difference(rows, f"token_delay {code}", COMPRESSED, EXPLICIT)
        relative, ends = saved.value / explicit, (saved.low / explicit, saved.high / explicit)
        figures.append(
            Figure(
                f"{code}: token delay, relative", relative, ends, "-60% or less", relative <= -0.6 and saved.signs_agree
            )
        )
        lost = difference(rows, f"accuracy {code}", COMPRESSED, EXPLICIT)
        share = lost.value / mean(rows, f"accuracy {code}", EXPLICIT).value
        name = f"{code}: accuracy, relative to explicit"
        figures.append(Figure(name, share, None, "-2% or more", share >= -0.02))
        figures.append(shown(f"{code}: semi-implicit - explicit, points", lost))
    for arm in (EXPLICIT, COMPRESSED, REMOVED):
        for code in LANGUAGES:
            for name in ("token_delay", "ms_to_answer"):
                if rows.has(f"{name} {code}", arm):
                    figures.append(shown(f"{arm}, {code}, {name}", mean(rows, f"{name} {code}", arm)))
    return figures + _accuracies(rows, (EXPLICIT, COMPRESSED, REMOVED))


def _accuracies(rows: Rows, arms: tuple[str, ...]) -> list[Figure]:
    return [
        shown(f"{arm}, {code}, accuracy", mean(rows, f"accuracy {code}", arm)) for arm in arms for code in LANGUAGES
    ]


def _tests(stages: Stages) -> list[dict[str, Any]]:
    return _lines(stages.folder / "corpus" / "core_test_dialogues.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [record for _, record in read_json_lines(path)]


GAIN = Claim(
    WORLD,
    "The explicit chain through English against direct answers, for facts that English text alone tells.",
    (DIRECT, TRANSCRIPT, EXPLICIT),
    partial(_measure, arms=(DIRECT, TRANSCRIPT, EXPLICIT)),
    _gain_figures,
)
DELAY = Claim(
    WORLD,
    "The semi-implicit chain answers sooner than the explicit one and loses little.",
    (EXPLICIT, COMPRESSED, REMOVED),
    partial(_measure, arms=(EXPLICIT, COMPRESSED, REMOVED)),
    _delay_figures,
)
