"""XS-CoT (arXiv 2504.20835) on the speech prompt: questions about facts that English text alone tells.

As ``xs_cot``, but speech comes in through a connector, the chain's markers are words, and LoRA lets the language model
write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cslm.benchmarks.claims.answered_texts import answers_to_texts
from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.figures import (
    Figure,
    Rows,
    closed_figure,
    difference,
    kept_figure,
    mean,
    relative_gain_figure,
    saved_figure,
    shown,
)
from cslm.benchmarks.claims.prompt_world import LANGUAGES, WORLD, connect, lines_of, make_hearing
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.worlds import score, train
from cslm.evaluation.facts import states_fact
from cslm.evaluation.spoken_questions_score import ANSWERS
from cslm.files.json_lines import write_json_lines
from cslm.sequences.chains import chain_of
from cslm.sequences.compression import Compression, CompressionConfig
from cslm.sequences.word_groups import check_words

DIRECT, TRANSCRIPT, EXPLICIT, COMPRESSED = "direct", "transcript_then_answer", "xs_cot", "compressed"
CHAIN_LM = "chain_lm"
"""folder of its own language model, to which each label is one token, and which has read how a chain is labelled"""
ALIGNMENT = "alignment"
"""folder of the connector that writes down what is heard, from which every arm starts"""
CEILING = "english text"
"""What the language model answers when it is asked in English text."""
_ORDERS = {
    DIRECT: "direct",
    TRANSCRIPT: "transcript_then_answer_labels",
    EXPLICIT: "xs_cot_labels",
    COMPRESSED: "xs_cot_labels",
}
_SHORTENED = Compression.of(
    CompressionConfig(every=1.0, all_from=1, keep_groups=2, group_size=1, unspaced_group_size=1)
)
_LABELLED = "corpus/labelled.jsonl"
_ASKED = tuple(code for code in LANGUAGES if code != "en")


def reply_rows(seed: int, arm: str, lines: list[dict[str, Any]]) -> Iterator[Row]:
    """Accuracy of each answer by its fact, and the tokens before it where there is one."""
    for line in lines:
        code, item = line["answer_language"], f"{line['about']}/{line['id']}"
        right = states_fact(line["answer"], line["fact"], line["wrong_facts"], code)
        yield Row(arm, seed, item, f"accuracy {code}", float(right))
        if line["token_delay"] is not None:
            yield Row(arm, seed, item, f"token_delay {code}", float(line["token_delay"]))


def labelled_texts(chains: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Chains as text, without the translation, whole and shortened, of people of whom all languages tell.

    A token that a language model never read in training has the row of every other such token in its head: one that has
    not read the labels, or the ellipsis, cannot be taught to write them while that head is frozen.
    """
    for chain in chains:
        if chain["kind"] != "core":
            short = _SHORTENED.shortened(chain_of(_ORDERS[COMPRESSED]), chain, 1.0, 0)
            for arm, said in ((TRANSCRIPT, chain), (EXPLICIT, chain), (COMPRESSED, {**chain, **short})):
                segments = chain_of(_ORDERS[arm]).segments
                text = "".join(f"{segment.before}{said[segment.field]}{segment.after}" for segment in segments)
                yield {"id": f"{chain['id']}-{arm}", "language": chain["answer_language"], "text": text}


def chain_figures(rows: Rows) -> list[Figure]:
    """The explicit chain against both baselines and the ceiling; the semi-implicit one against the explicit one."""
    figures, beside = list[Figure](), list[Figure]()
    for code in _ASKED:
        accuracy, delay = f"accuracy {code}", f"token_delay {code}"
        name = f"{code}: explicit against direct, relative"
        figures.append(relative_gain_figure(name, rows, accuracy, EXPLICIT, DIRECT, 0.45))
        gain = difference(rows, accuracy, EXPLICIT, TRANSCRIPT)
        name, met = f"{code}: explicit - transcript then answer", gain.low > 0 and gain.signs_agree
        figures.append(Figure(name, gain.value, (gain.low, gain.high), "lower end above 0", met))
        name = f"{code}: share of the gap to English text that is closed"
        figures.append(closed_figure(name, rows, accuracy, EXPLICIT, DIRECT, CEILING))
        if rows.has(delay, EXPLICIT) and rows.has(delay, COMPRESSED):
            figures.append(saved_figure(f"{code}: token delay, relative", rows, delay, COMPRESSED, EXPLICIT, 0.6))
        name = f"{code}: accuracy, relative to explicit"
        figures.append(kept_figure(name, rows, accuracy, COMPRESSED, EXPLICIT, 0.02))
        beside += [
            shown(f"{arm}, {metric}", mean(rows, metric, arm))
            for metric in (accuracy, delay)
            for arm in (*_ORDERS, CEILING)
            if rows.has(metric, arm)
        ]
    return figures + beside


def _ceiling_rows(stages: Stages, seed: int) -> Iterator[Row]:
    """What the language model answers to the same questions in English text."""
    tests = lines_of(stages, "corpus/core_test_dialogues.jsonl")
    asked = [(test["core_question"], test["core_language"]) for test in tests]
    answers = answers_to_texts(stages.folder / CHAIN_LM, asked, stages.folder / "english_answers.json")
    for test, answer in zip(tests, answers, strict=True):
        right = states_fact(answer, test["core_fact"], test["core_wrong_facts"], test["core_language"])
        yield Row(CEILING, seed, f"{test['about']}/{test['id']}", f"accuracy {test['answer_language']}", float(right))


def _measure(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    if COMPRESSED in arms:
        check_words("phrases", _ASKED)  # said before the first stage, not after half an hour
    make_hearing(stages, seed)
    if not (stages.folder / _LABELLED).is_file():
        write_json_lines(labelled_texts(lines_of(stages, "corpus/chains.jsonl")), stages.folder / _LABELLED)
    train(stages, seed, WORLD, "pretrain", CHAIN_LM, ("chain_lm",))
    connect(stages, seed, ALIGNMENT, ("chain",))
    for arm in arms:
        if arm == CEILING:
            yield from _ceiling_rows(stages, seed)
            continue
        connect(stages, seed, arm, ("chain",))
        order = ("--scores.spoken_questions.order", _ORDERS[arm])
        folder = score(stages, WORLD, arm, "chain_score", more=order).name
        yield from reply_rows(seed, arm, lines_of(stages, f"{folder}/{ANSWERS}"))


CHAIN = Claim(
    WORLD,
    "XS-CoT on the speech prompt: explicit and semi-implicit chains against direct answers.",
    (*_ORDERS, CEILING),
    _measure,
    chain_figures,
)
