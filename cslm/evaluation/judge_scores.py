"""What a judge's verdicts add up to, and how far they agree with the judge of exact facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from cslm.evaluation.facts import share_scores, states_fact
from cslm.evaluation.paired_tests import NUM_RESAMPLES, clustered_mean
from cslm.evaluation.score_contract import Record
from cslm.evaluation.score_tables import Scores


def judge_scores(replies: Sequence[Record], generator: np.random.Generator) -> Record:
    """The entries of results.json for the lines of one direction that were judged; empty where none was.

    ``judge_score`` (mean, with its bootstrap interval over answers) or ``judge_accuracy`` (with its Wilson interval),
    of the answers that have a verdict; ``judge`` says how many these are, what failed, and the agreement.
    """
    judged = [reply for reply in replies if "judge" in reply]
    if not judged:
        return {}
    known = [reply for reply in judged if "failed" not in reply["judge"]]
    failures = Counter(reply["judge"]["failed"] for reply in judged if "failed" in reply["judge"])
    facts: Record = {"n": len(known), "failed": sum(failures.values()), "failures": dict(sorted(failures.items()))}
    facts["not_asked"] = len(replies) - len(judged)
    scores: Record = {"judge": facts}
    if not known:
        return scores
    if "right" in known[0]["judge"]:
        scores |= share_scores([reply["judge"]["right"] for reply in known], "judge_accuracy")
    else:
        values = [reply["judge"]["score"] for reply in known]
        scores |= _mean_scores(values, generator)
        facts["distribution"] = {str(value): count for value, count in sorted(Counter(values).items())}
    agreement = _agreement([reply for reply in known if "fact" in reply])
    if agreement:
        facts["agreement_with_facts"] = agreement
    return scores


def agreement_cell(scores: Scores, name: str) -> str:
    """How far the judge agrees with the exact facts, for a table."""
    value = (scores.get(name) or {}).get("agreement_with_facts")
    if not value:
        return "–"
    if "same" in value:
        return f"{100 * value['same']:.1f} % <small>n {value['n']}</small>"
    return "–" if value["auc"] is None else f"AUC {value['auc']:.2f} <small>n {value['n']}</small>"


def failed_cell(scores: Scores, name: str) -> str:
    """How many answers have no verdict, for a table."""
    value = scores.get(name)
    return "–" if value is None else f"{value['failed']:,} <small>of {value['n'] + value['failed']:,}</small>"


def mean_cell(scores: Scores, name: str) -> str:
    """A mean score with its interval, for a table."""
    value = scores.get(name)
    if value is None:
        return "–"
    low, high = scores[f"{name}_interval"]
    return f"{value:.2f} <small>{low:.2f}–{high:.2f}</small>"


def _mean_scores(values: Sequence[int], generator: np.random.Generator) -> Record:
    found = clustered_mean(values, None, None, NUM_RESAMPLES, generator)
    return {"judge_score": round(found.value, 5), "judge_score_interval": [round(found.low, 5), round(found.high, 5)]}


def _agreement(replies: Sequence[Record]) -> Record:
    """Against whether the same text states the fact and no wrong one.

    Of right and wrong: the share of equal verdicts, Cohen's kappa, and the four counts. Of scores: how often an answer
    that is right has a higher score than one that is wrong (AUC, ties half), and the mean score of either kind.
    """
    if not replies:
        return {}
    by_facts = [_states_fact(reply) for reply in replies]
    if "right" in replies[0]["judge"]:
        by_judge = [bool(reply["judge"]["right"]) for reply in replies]
        pairs = Counter(zip(by_facts, by_judge, strict=True))
        told = {True: "right", False: "wrong"}
        counts = {f"facts_{told[a]}_judge_{told[b]}": pairs[(a, b)] for a in told for b in told}
        varies = len({*by_facts, *by_judge}) > 1
        kappa = round(float(cohen_kappa_score(by_facts, by_judge)), 5) if varies else None
        same = sum(a == b for a, b in zip(by_facts, by_judge, strict=True)) / len(replies)
        return {"n": len(replies), "same": round(same, 5), "kappa": kappa, **counts}
    values = np.asarray([reply["judge"]["score"] for reply in replies], dtype=np.float64)
    right = np.asarray(by_facts)
    auc = round(float(roc_auc_score(right, values)), 5) if 0 < right.sum() < len(right) else None
    means = {f"mean_where_{name}": _mean(values[kind]) for name, kind in (("right", right), ("wrong", ~right))}
    return {"n": len(replies), "auc": auc, **means}


def _states_fact(reply: Record) -> bool:
    text = reply[reply["judge"]["text"]]
    return states_fact(text, reply["fact"], reply["wrong_facts"], reply["answer_language"])


def _mean(values: np.ndarray) -> float | None:
    return round(float(values.mean()), 5) if len(values) else None
