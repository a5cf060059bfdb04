"""Cross-lingual interleaving (arXiv 2512.01865) on the village: stories in two languages, both mixed or interleaved.

The paper's measure is spoken TopicCloze whose beginning is in one language and whose ending is in the other; hidden
states are compared by the cosine of parallel sentences. All arms see the same stories and as many tokens; each
story is a document by itself, and one more arm joins them to longer ones, as the paper does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.figures import Figure, Rows, difference, gain_figure, mean, shown
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.worlds import make_units, score, train
from cslm.evaluation.pair_rows import MEASURES, won
from cslm.files.json_lines import read_json_lines

ACROSS, WITHIN = ("en-fr", "fr-en"), ("en-en", "fr-fr")
BASELINE, INTERLEAVED, RESTORED, JOINED = "mixed", "interleaved", "restored", "joined"
WORLD = "xli"
_STORES = {"units": "corpus/story_train.jsonl", "test_units": "corpus/story_test.jsonl"}
_CONTROL = "ending_only_accuracy"


def pair_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """Whether each pair of topics was told right: by the whole, and as a control by the ending without the story."""
    for _, row in read_json_lines(score(stages, WORLD, arm, "pairs") / "pairs.jsonl"):
        if row["kind"] == "topic":
            item = f"{row['document']}/{row['id']}"
            for measure in ("accuracy", _CONTROL):
                yield Row(arm, seed, item, f"{measure} {row['direction']}", won(row, MEASURES[measure]))


def alignment_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """Parallel minus random cosine of each sentence, by layer."""
    for _, row in read_json_lines(score(stages, WORLD, arm, "alignment") / "alignment.jsonl"):
        for layer, (parallel, random) in enumerate(zip(row["parallel"], row["random"], strict=True)):
            item = f"{row['document'] or row['group']}/{row['group']}"  # an ending that is told again is in no story
            yield Row(arm, seed, item, f"cosine layer {layer}", parallel - random)


def _measure(stages: Stages, seed: int, arms: tuple[str, ...], rows_of: str) -> Iterator[Row]:
    make_units(stages, seed, WORLD, _STORES)
    for arm in arms:
        train(stages, seed, WORLD, "pretrain", arm, ("train", arm))
        yield from {"pairs": pair_rows, "alignment": alignment_rows}[rows_of](stages, seed, arm)


def _cross_figures(rows: Rows) -> list[Figure]:
    figures = []
    for direction in ACROSS:
        metric = f"accuracy {direction}"
        figures.append(gain_figure(f"{direction}: interleaved - mixed", rows, metric, INTERLEAVED, BASELINE, 0.12))
    return figures + _beside(rows, (BASELINE, INTERLEAVED, JOINED))


def _mono_figures(rows: Rows) -> list[Figure]:
    within = [f"accuracy {direction}" for direction in WITHIN]
    gain = difference(rows, within, RESTORED, BASELINE)
    name, bar = "within a language: restored - mixed", "-0.005 or more"
    figures = [Figure(name, gain.value, (gain.low, gain.high), bar, gain.value >= -0.005)]
    for direction, metric in zip(WITHIN, within, strict=True):
        figures.append(shown(f"{direction}: restored - mixed", difference(rows, metric, RESTORED, BASELINE)))
    for direction in ACROSS:
        metric = f"accuracy {direction}"
        kept, gained = (difference(rows, metric, arm, BASELINE).value for arm in (RESTORED, INTERLEAVED))
        share = kept / gained if gained > 0 else 0.0
        figures.append(
            Figure(f"{direction}: share of the gain that is kept", share, None, "0.75 or more", share >= 0.75)
        )
    return figures + _beside(rows, (BASELINE, INTERLEAVED, RESTORED))


def _beside(rows: Rows, arms: tuple[str, ...]) -> list[Figure]:
    """Every arm's accuracy in every direction, and its control."""
    return [
        shown(f"{arm}, {direction}, {name}", mean(rows, f"{measure} {direction}", arm))
        for direction in (*ACROSS, *WITHIN)
        for measure, name in (("accuracy", "accuracy"), (_CONTROL, "ending only"))
        for arm in arms
        if rows.has(f"{measure} {direction}", arm)
    ]


def _alignment_figures(rows: Rows) -> list[Figure]:
    layers = [f"cosine layer {layer}" for layer in range(100) if rows.has(f"cosine layer {layer}", INTERLEAVED)]
    gaps = {arm: [mean(rows, layer, arm) for layer in layers] for arm in (BASELINE, INTERLEAVED)}
    best = max(range(len(layers)), key=lambda layer: gaps[INTERLEAVED][layer].value)
    found = gaps[INTERLEAVED][best]
    name = f"parallel - random, interleaved, layer {best} (its best)"
    figures = [
        Figure(name, found.value, (found.low, found.high), "0.05 or more", found.value >= 0.05 and found.signs_agree)
    ]
    grown = [gap.value - before.value for gap, before in zip(gaps[INTERLEAVED], gaps[BASELINE], strict=True)]
    value = sum(grown) / len(grown)
    figures.append(Figure("grown against mixed, mean over layers", value, None, "above 0", value > 0))
    return figures + [
        shown(f"{arm}, layer {layer}", gap) for arm, found in gaps.items() for layer, gap in enumerate(found)
    ]


CROSS = Claim(
    WORLD,
    "Interleaving languages sentence by sentence, against both mixed: stories are continued in the other language.",
    (BASELINE, INTERLEAVED),
    partial(_measure, rows_of="pairs"),
    _cross_figures,
    (JOINED,),
)
MONO = Claim(
    WORLD,
    "A short last stage of alternating batches restores what interleaving cost within a language, and keeps its gain.",
    (BASELINE, INTERLEAVED, RESTORED),
    partial(_measure, rows_of="pairs"),
    _mono_figures,
)
ALIGNMENT = Claim(
    WORLD,
    "Hidden states of one sentence in two languages move together.",
    (BASELINE, INTERLEAVED),
    partial(_measure, rows_of="alignment"),
    _alignment_figures,
)
