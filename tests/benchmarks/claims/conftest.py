"""Stages that run nothing: what they are told is checked by the configuration of their verb, and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from cslm.benchmarks.claims.stages import Stages
from cslm.codecs.fit_tokenizer import FitTokenizerConfig
from cslm.configuration import parse_configuration
from cslm.evaluation.score import parse_score_configuration
from cslm.synthesis.village.tables import load_size
from cslm.training.language_model_config import FinetuneConfig
from cslm.training.pretrain import PretrainConfig
from cslm.units.tokenize_corpus import TokenizeCorpusConfig

KINDS = {"fit-tokenizer": FitTokenizerConfig, "pretrain": PretrainConfig, "finetune": FinetuneConfig}


class ToldStages(Stages):
    """Checks what a stage is told, and runs nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.seen: list[str] = []

    def run(self, name, verb, arguments, settings=()):
        """Keep the command; one that comes again is the same."""
        assert self.told.setdefault(name, (verb, tuple(arguments))) == (verb, tuple(arguments))
        assert all(path.is_file() for path in settings)
        self.seen.append(name)
        if verb == "prepare-corpus":
            load_size(arguments[arguments.index("--size") + 1])
        elif verb == "tokenize-corpus":
            parse_configuration(TokenizeCorpusConfig, ["--manifests", f"[{arguments[0]}]", *arguments[1:]], verb)
        elif verb == "score":
            parse_score_configuration(list(arguments))
        else:
            parse_configuration(KINDS[verb], list(arguments), verb)


@pytest.fixture
def stages(tmp_path) -> ToldStages:
    """Stages of seed 7."""
    return ToldStages(tmp_path / "seed7")
