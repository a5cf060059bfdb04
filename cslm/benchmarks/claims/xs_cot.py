"""XS-CoT (arXiv 2504.20835) on the village: questions in fr, de and ja about facts that English text alone tells.

Direct answers, a transcript before the answer, the explicit chain through English, the semi-implicit chain, and the
chain removed altogether learn from the same documents in as many tokens, from one pre-trained model a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.shortest_delay import shortest_delays
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.tenth import tenth_of
from cslm.benchmarks.claims.text_ceiling import text_ceiling
from cslm.benchmarks.claims.worlds import make_units, score, settings_file, train
from cslm.benchmarks.claims.xs_cot_figures import (
    CEILING,
    COMPRESSED,
    DIRECT,
    EXPLICIT,
    FLOOR,
    HEARD,
    LANGUAGES,
    LESS_COMPRESSED,
    LITTLE,
    REMOVED,
    TRANSCRIPT,
    delay_figures,
    gain_figures,
    little_data_figures,
)
from cslm.evaluation.error_rates import normalize
from cslm.evaluation.facts import states_fact
from cslm.files.json_lines import read_json_lines, write_json_lines
from cslm.sequences.word_groups import check_words

WORLD = "xs_cot"
_CHAINS, _TENTH = "corpus/chains.jsonl", "corpus/chains_tenth.jsonl"


def pretrained(stages: Stages, seed: int) -> None:
    """What all arms of a seed start from: corpus, card, units, the text model, and one that hears."""
    make_units(stages, seed, WORLD, {"units": "corpus/train.jsonl"})
    for stage in ("text_lm", "pretrain"):
        train(stages, seed, WORLD, "pretrain", stage, (stage,))


def answered(stages: Stages, seed: int, arm: str) -> list[dict[str, Any]]:
    """The replies of an arm, trained and scored if it is not yet; each says what was ``asked``, and ``about`` whom."""
    train(stages, seed, WORLD, "finetune", arm, ("train", arm))
    tests = {row["id"]: {"about": row["about"], "asked": row["question_text"]} for row in _tests(stages)}
    return [
        {**reply, **tests[reply["id"]]}
        for reply in _lines(stages, f"{score(stages, WORLD, arm, 'score').name}/replies.jsonl")
    ]


def reply_rows(seed: int, arm: str, replies: list[dict[str, Any]]) -> Iterator[Row]:
    """Accuracy of each answer by its fact, and the tokens and milliseconds before it, where there is one.

    Of chains that write the question down whole, whether that is right too.
    """
    for reply in replies:
        code, item = reply["answer_language"], f"{reply['about']}/{reply['id']}"
        right = states_fact(reply["answer"], reply["fact"], reply["wrong_facts"], code)
        yield Row(arm, seed, item, f"accuracy {code}", float(right))
        if arm in (EXPLICIT, LITTLE):
            heard = reply["texts"].get("question_text", "")
            yield Row(
                arm, seed, item, f"{HEARD} {code}", float(normalize(heard, code) == normalize(reply["asked"], code))
            )
        for name in ("token_delay", "ms_to_answer"):
            if reply.get(name) is not None:
                yield Row(arm, seed, item, f"{name} {code}", float(reply[name]))


def write_tenth(stages: Stages, seed: int) -> None:
    """A tenth of the spoken pairs of each language, drawn by the seed, in the order of all."""
    found = tenth_of(_lines(stages, _CHAINS), lambda chain: str(chain["question_language"]), seed)
    write_json_lines(found, stages.folder / _TENTH)


def _ceiling_rows(stages: Stages, seed: int) -> Iterator[Row]:
    """What the pre-trained model answers in English text, question by question."""
    tests = _tests(stages)
    found = text_ceiling(stages.folder / "pretrain", tests, stages.folder / "text_answers.json")
    for row in tests:
        yield Row(CEILING, seed, _item(row), f"accuracy {row['answer_language']}", float(found[str(row["id"])]))


def _floor_rows(stages: Stages, seed: int) -> Iterator[Row]:
    """The tokens before the answer where the true chain of each question is written as short as it may become."""
    tests = _tests(stages)
    found = shortest_delays(stages.folder / COMPRESSED, settings_file(WORLD, COMPRESSED), tests)
    for row, delay in zip(tests, found, strict=True):
        yield Row(FLOOR, seed, _item(row), f"token_delay {row['answer_language']}", float(delay))


def _measure(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    if {COMPRESSED, LESS_COMPRESSED, REMOVED} & set(arms):
        check_words("phrases", LANGUAGES)  # said before the first stage, not after half an hour
    pretrained(stages, seed)
    if LITTLE in arms and not (stages.folder / _TENTH).is_file():
        write_tenth(stages, seed)
    for arm in arms:
        if arm == CEILING:
            yield from _ceiling_rows(stages, seed)
        elif arm == FLOOR:
            yield from _floor_rows(stages, seed)
        else:
            yield from reply_rows(seed, arm, answered(stages, seed, arm))


def _item(test: dict[str, Any]) -> str:
    return f"{test['about']}/{test['id']}"


def _tests(stages: Stages) -> list[dict[str, Any]]:
    return _lines(stages, "corpus/core_test_dialogues.jsonl")


def _lines(stages: Stages, name: str) -> list[dict[str, Any]]:
    return [record for _, record in read_json_lines(stages.folder / name)]


GAIN = Claim(
    WORLD,
    "The explicit chain through English against direct answers, for facts that English text alone tells.",
    (DIRECT, TRANSCRIPT, EXPLICIT, CEILING),
    _measure,
    gain_figures,
)
DELAY = Claim(
    WORLD,
    "The semi-implicit chain answers sooner than the explicit one and loses little.",
    (EXPLICIT, COMPRESSED, FLOOR),
    _measure,
    delay_figures,
    (LESS_COMPRESSED, REMOVED),
)
LITTLE_DATA = Claim(
    WORLD,
    "The explicit chain with a tenth of the spoken pairs against direct answers with all of them.",
    (DIRECT, LITTLE, EXPLICIT),
    _measure,
    little_data_figures,
)
