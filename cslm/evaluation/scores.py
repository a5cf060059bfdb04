"""The scores that there are, and what all of them have in common: configuration and tables."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import field, make_dataclass
from typing import Any

from cslm.errors import UserError
from cslm.evaluation.score_config import ScoreConfig
from cslm.evaluation.score_contract import Score
from cslm.evaluation.score_tables import Table

# Name of a score, in configurations and results -> "module:Class" of its Score. Imported only when used.
SCORES = {
    "asr": "cslm.evaluation.asr_score:AsrScore",
    "tts": "cslm.evaluation.tts_score:TtsScore",
    "dialogue": "cslm.evaluation.dialogue_score:DialogueScore",
    "pairs": "cslm.evaluation.pairs_score:PairsScore",
    "spoken_questions": "cslm.evaluation.spoken_questions_score:SpokenQuestionsScore",
    "imitation": "cslm.evaluation.imitation_score:ImitationScore",
    "alignment": "cslm.evaluation.alignment_score:AlignmentScore",
}


def score_class(name: str) -> type[Score]:
    """The class of a score, imported now.

    Raises:
        UserError: there is no score of that name.
    """
    if name not in SCORES:
        raise UserError(f"scores.{name}: there is no such score: choose of {', '.join(SCORES)}")
    module, _, attribute = SCORES[name].partition(":")
    found: type[Score] = getattr(importlib.import_module(module), attribute)
    return found


def config_class(names: Collection[str]) -> type[ScoreConfig]:
    """:class:`ScoreConfig` whose ``scores`` holds the settings of the named ones, in the order of ``SCORES``.

    So that each key and each wrong type of theirs is refused by name, and ``--help`` lists them.

    Raises:
        UserError: there is no score of a name.
    """
    classes = {name: score_class(name) for name in names}
    given = [(name, classes[name]) for name in SCORES if name in classes]
    scores = make_dataclass("Scores", given, namespace={"__doc__": "What is scored."})
    default = field() if given else field(default_factory=scores)
    namespace = {"__doc__": ScoreConfig.__doc__, "__module__": __name__}
    whole = [("scores", scores, default)]
    return make_dataclass("ScoreConfig", whole, bases=(ScoreConfig,), namespace=namespace, kw_only=True)


def named_scores(config: ScoreConfig) -> dict[str, Score]:
    """The scores of a configuration by name, in the order of ``SCORES``."""
    return {name: getattr(config.scores, name) for name in SCORES if hasattr(config.scores, name)}


def score_tables(results: Mapping[str, Any], source: str = "results.json") -> list[Table]:
    """The tables of each score in the results, in their order.

    Raises:
        UserError: an older version wrote them.
    """
    if not isinstance(results.get("scores"), Mapping):
        raise UserError(f"{source} holds no `scores`: an older version wrote it, or another tool: run score again")
    tables = []
    for name, found in results["scores"].items():
        if name in SCORES:
            tables += score_class(name).tables(found)
        else:
            print(f"{source}: the score {name!r} is not known here and is left out", flush=True)
    return tables
