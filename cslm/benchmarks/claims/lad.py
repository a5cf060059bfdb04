"""LAD (arXiv 2603.07025) on the village: spoken questions in five languages, answered by a language model that reads.

All arms learn from the same pairs of speech and transcript in as many steps of as many recordings, between the same
frozen encoder and the same frozen language model of a seed. What they are asked no audio of training tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cslm.benchmarks.claims.answered_texts import answers_to_texts, heard_texts
from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.input_distances import input_distances
from cslm.benchmarks.claims.lad_figures import (
    ALONE,
    BANK,
    DISTANCE,
    GATES,
    GIVEN,
    HEARD_AS,
    HEARD_VOICES,
    QUERIES,
    RANDOM,
    STATIC,
    STATIC_LARGE,
    SWITCHED,
    TABLE,
    UNHEARD_VOICES,
    bank_figures,
    gate_figures,
    interference_figures,
    queries_figures,
)
from cslm.benchmarks.claims.prompt_world import (
    CASCADE,
    LANGUAGES,
    LLM,
    RECOGNIZER,
    TEXT_ONLY,
    WORLD,
    connect,
    lines_of,
    make_parts,
    run_with,
)
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.benchmarks.claims.unseen_language import LANGUAGE, write_unseen_language
from cslm.benchmarks.claims.worlds import score
from cslm.corpora.manifest import read_manifest
from cslm.evaluation.facts import states_fact
from cslm.evaluation.spoken_questions_score import ANSWERS

_NUM_SWITCHED = 100
_QUESTIONS, _TESTS = "corpus/dialogue_test.jsonl", "corpus/spoken_questions.jsonl"


def make_states(stages: Stages, seed: int) -> None:
    """What all arms of a seed learn from: encoder, language model, frames, and the teacher's states."""
    make_parts(stages, seed)
    given = ("corpus/train.jsonl", "--llm", LLM, "--output", "states")
    run_with(stages, "states", "make-teacher-states", given, ())


def answer_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """Whether each answer states the fact that was asked for, by language and over all."""
    return _right(seed, arm, lines_of(stages, f"{_scored(stages, arm)}/{ANSWERS}"))


def gate_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """Whether the gate hears the language of each recording, of voices heard and never heard; and a table.

    Recordings are told apart by their number alone. The table holds shares: what each language is heard as, overall and
    by length, one that was never learnt among them, and whether switched speech is heard as one of its two languages.
    """
    unseen = write_unseen_language(stages.folder / "corpus", seed)
    tests, others = f"[{_QUESTIONS}, corpus/asr_test.jsonl]", f"[corpus/asr_unheard_voice.jsonl, corpus/{unseen.name}]"
    heard = _gate_report(stages, f"{arm}_gate", arm, [tests, "--switched", str(_NUM_SWITCHED)])
    unheard = _gate_report(stages, f"{arm}_gate_unheard", arm, [others])
    for metric, report in ((HEARD_VOICES, heard), (UNHEARD_VOICES, unheard)):
        for language in LANGUAGES:
            counts = report["confusion"].get(language, {})
            hits = [found == language for found, count in counts.items() for _ in range(count)]
            for number, hit in enumerate(hits):
                yield Row(arm, seed, f"{language} {number:04d}/gate", metric, float(hit))
    never_learnt = {LANGUAGE: unheard["confusion"][LANGUAGE]}
    shares = _shares(heard["confusion"] | never_learnt, "")
    for length, found in heard["by_length"].items():
        shares |= {f"language, {length}": found["accuracy"], **_shares(found["confusion"], f", {length}")}
    shares[SWITCHED] = heard["switched"]["one_of_both"]
    for metric, share in shares.items():
        yield Row(arm, seed, TABLE, metric, float(share))


def _gate_report(stages: Stages, name: str, arm: str, manifests: list[str]) -> dict[str, Any]:
    stages.run(name, "gate-report", [arm, "--manifests", *manifests, "--output", f"{name}.json"])
    report: dict[str, Any] = json.loads((stages.folder / f"{name}.json").read_bytes())
    return report


def _shares(confusion: dict[str, dict[str, int]], where: str) -> dict[str, float]:
    """What each language is heard as; switched speech stands apart."""
    return {
        f"{language}{HEARD_AS}{found}{where}": count / sum(counts.values())
        for language, counts in confusion.items()
        for found, count in counts.items()
        if "+" not in language
    }


def distance_rows(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """The input distillation of each test recording whose transcript fits the arm with the fewest queries."""
    given = stages.folder / arm, stages.folder / "corpus" / "asr_test.jsonl", min(QUERIES.values())
    for name, distance in input_distances(*given, stages.folder / f"{arm}_distances.json").items():
        yield Row(arm, seed, f"{name}/transcript", DISTANCE, distance)


def _right(seed: int, arm: str, lines: list[dict[str, Any]]) -> Iterator[Row]:
    for line in lines:
        code = line["answer_language"]
        right = float(states_fact(line["answer"], line["fact"], line["wrong_facts"], code))
        item = f"{line['about']}/{line['id']}"
        yield Row(arm, seed, item, "accuracy", right)
        yield Row(arm, seed, item, f"accuracy {code}", right)


def _scored(stages: Stages, arm: str) -> str:
    return score(stages, WORLD, arm, "lad_score").name


def _beside(stages: Stages, seed: int, arm: str) -> Iterator[Row]:
    """What the language model answers to the transcripts, or to what the recognizer hears."""
    tests = lines_of(stages, _TESTS)
    texts = [row["question_text"] for row in tests]
    if arm == CASCADE:
        manifest = stages.folder / _QUESTIONS
        by_id = {utterance.id: utterance for utterance in read_manifest(manifest)}
        asked = [by_id[row["question"]] for row in tests]
        texts = heard_texts(stages.folder / RECOGNIZER, manifest, asked, stages.folder / "heard_questions.json")
    pairs = [(text, row["question_language"]) for text, row in zip(texts, tests, strict=True)]
    kept = stages.folder / f"{arm.replace(' ', '_')}_answers.json"
    answers = answers_to_texts(stages.folder / LLM, pairs, kept)
    return _right(seed, arm, [{**row, "answer": answer} for row, answer in zip(tests, answers, strict=True)])


def _measure(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    make_states(stages, seed)
    for arm in arms:
        if arm in (TEXT_ONLY, CASCADE):
            yield from _beside(stages, seed, arm)
        else:
            connect(stages, seed, arm, ("lad",))
            yield from answer_rows(stages, seed, arm)


def _measure_gates(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    yield from _measure(stages, seed, arms)
    for arm in arms:
        if arm != TEXT_ONLY:
            yield from gate_rows(stages, seed, arm)


def _measure_distances(stages: Stages, seed: int, arms: tuple[str, ...]) -> Iterator[Row]:
    make_states(stages, seed)
    for arm in arms:
        connect(stages, seed, arm, ("lad",))
        yield from distance_rows(stages, seed, arm)


BANK_CLAIM = Claim(
    WORLD,
    "A bank of queries and a gate against one static sequence, same steps and data: spoken questions are answered.",
    (STATIC, STATIC_LARGE, BANK, TEXT_ONLY, CASCADE),
    _measure,
    bank_figures,
    (RANDOM, GIVEN),
)
INTERFERENCE = Claim(
    WORLD,
    "One static sequence loses by languages, against one for a language alone; how much of it the bank wins back.",
    (STATIC, *ALONE.values(), BANK, TEXT_ONLY),
    _measure,
    interference_figures,
)
GATE = Claim(
    WORLD,
    "The gate hears which language is spoken: hard and soft, by convolutions and by attention pooling.",
    (*GATES, TEXT_ONLY),
    _measure_gates,
    gate_figures,
)
QUERIES_CLAIM = Claim(
    WORLD,
    "More queries lower the input distillation.",
    tuple(QUERIES),
    _measure_distances,
    queries_figures,
)
