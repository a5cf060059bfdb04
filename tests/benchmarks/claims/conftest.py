"""Stages that run nothing: what they are told is checked by the configuration of their verb, and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cslm.benchmarks.claims.stages import Stages
from cslm.codecs.fit_tokenizer import FitTokenizerConfig
from cslm.configuration import parse_configuration
from cslm.corpora.given_manifests import with_manifests
from cslm.evaluation.gate_report import GateReportConfig
from cslm.evaluation.score import parse_score_configuration
from cslm.synthesis.make_targets import MakeTargetsConfig
from cslm.synthesis.make_teacher_states import MakeTeacherStatesConfig
from cslm.training.language_model_config import FinetuneConfig
from cslm.training.pretrain import PretrainConfig
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.train_recognizer import TrainRecognizerConfig
from cslm.units.make_frames import MakeFramesConfig
from cslm.units.tokenize_corpus import TokenizeCorpusConfig
from cslm.village.tables import load_size

KINDS = {
    "fit-tokenizer": FitTokenizerConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "train-recognizer": TrainRecognizerConfig,
    "train-prompt": TrainPromptConfig,
}
OF_MANIFESTS = {
    "tokenize-corpus": TokenizeCorpusConfig,
    "make-frames": MakeFramesConfig,
    "make-targets": MakeTargetsConfig,
    "make-teacher-states": MakeTeacherStatesConfig,
}


class ToldStages(Stages):
    """Checks what a stage is told, and runs nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.told: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.seen: list[str] = []
        self.read: dict[str, Any] = {}

    def run(self, name, verb, arguments, settings=()):
        """Keep the command; one that comes again is the same."""
        assert all(path.is_file() for path in settings)
        is_new = name not in self.told
        assert self.told.setdefault(name, (verb, tuple(arguments))) == (verb, tuple(arguments))
        self.seen.append(name)
        if is_new:
            self._check(name, verb, arguments)

    def _check(self, name, verb, arguments):
        if verb == "prepare-corpus":
            load_size(arguments[arguments.index("--size") + 1])
        elif verb in OF_MANIFESTS:
            self.read[name] = parse_configuration(OF_MANIFESTS[verb], with_manifests(list(arguments)), verb)
        elif verb == "gate-report":
            self.read[name] = parse_configuration(GateReportConfig, list(arguments), verb, ("model",))
        elif verb == "score":
            parse_score_configuration(list(arguments))
        else:
            self.read[name] = parse_configuration(KINDS[verb], list(arguments), verb)


@pytest.fixture
def stages(tmp_path) -> ToldStages:
    """Stages of seed 7."""
    return ToldStages(tmp_path / "seed7")
