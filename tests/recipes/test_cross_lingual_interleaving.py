"""The runs of cross-lingual interleaving: each YAML loads, and their tokens are those of the paper's table."""

from __future__ import annotations

import re

import pytest

from cslm.batches.source_checks import check_keys
from cslm.configuration import parse_configuration
from cslm.evaluation.score import parse_score_configuration
from cslm.planning.planned_data import plan_sources, planned_accounts
from cslm.sequences.tasks import TASKS
from cslm.training.pretrain import PretrainConfig
from tests.recipes.conftest import ROOT

FOLDER = ROOT / "recipes" / "cross_lingual_interleaving"
FROM_TEXT = ("one_language", "one_run", "baseline_mixed", "baseline_en", "baseline_fr")
FROM_STAGES = ("interleaved", "alternating")
OVERLAYS = {
    "per_language_1": "one_language", "per_language_run": "one_run", "per_language_baseline": "baseline_mixed"
}  # fmt: skip
BILLION = 1e9


def run(*names: str) -> PretrainConfig:
    """The configuration of these files, one behind the other."""
    arguments = [part for name in names for part in ("--config", str(FOLDER / f"{name}.yaml"))]
    return parse_configuration(PretrainConfig, arguments, "pretrain")


def tokens(*names: str) -> dict[str, float]:
    """Billions of tokens by account, before any data are read."""
    config = run(*names)
    plans = plan_sources(config.sources, config.training, None)
    return {account: round(count / BILLION, 2) for account, count in planned_accounts(plans).items()}


def of_language(accounts: dict[str, float], language: str) -> float:
    """Billions of a language; of what is told in both, half."""
    found = sum(count for name, count in accounts.items() if name.split("/")[-1] == language)
    return found + sum(count for name, count in accounts.items() if name.endswith("en+fr")) / 2


def test_every_file_is_a_run_or_stands_behind_one():
    names = {path.stem for path in FOLDER.glob("*.yaml")}
    assert names == {*FROM_TEXT, *FROM_STAGES, *OVERLAYS, "1b", "score"}


@pytest.mark.parametrize("name", [*FROM_TEXT, *FROM_STAGES])
def test_a_run_has_the_settings_of_the_paper(name):
    config = run(name)
    training = config.training
    assert config.output == name and config.model.textless
    assert (training.tokens_per_step, training.max_length, training.learning_rate) == (614_400, 2048, 5e-4)
    assert training.optimizer.betas == (0.9, 0.98) and training.optimizer.weight_decay == 0.1
    assert training.optimizer.gradient_clip == 1.0
    assert (training.schedule.shape, training.schedule.warmup_fraction) == ("linear", 0.05)
    assert {source.task for source in config.sources.values()} <= {"story", "speech"}
    for source_name, source in config.sources.items():
        check_keys(source_name, source, textless=True)
        assert TASKS[source.task].textless


@pytest.mark.parametrize("name", FROM_TEXT)
def test_the_large_model_changes_the_base_alone(name):
    small, large = run(name), run(name, "1b")
    assert (small.model.base, large.model.base) == ("Qwen/Qwen2-0.5B", "meta-llama/Llama-3.2-1B")
    assert large.model.textless and large.sources == small.sources
    assert large.training.last_step == small.training.last_step


def test_the_stages_have_the_tokens_of_the_paper_by_their_sum():
    """61.44 B in all, 15.36 B of them French: 50, 20, and 15 and 15 thousand steps."""
    assert tokens("one_language") == {"en": 30.72}
    assert tokens("interleaved") == {"en+fr": 12.29}
    assert tokens("alternating") == {"en": 9.22, "fr": 9.22}
    assert tokens("one_run") == {"1/en": 30.72, "2/en+fr": 12.29, "3/en": 9.22, "3/fr": 9.22}
    assert of_language(tokens("one_run"), "fr") == pytest.approx(15.36, abs=0.02)


def test_the_stages_have_the_tokens_of_the_paper_by_language():
    """46.08, 52.22 and 61.44 B of English, 0, 6.14 and 15.36 B of French after each stage."""
    accounts = tokens("one_run", "per_language_run")
    assert accounts == {"1/en": 46.08, "2/en+fr": 12.29, "3/en": 9.22, "3/fr": 9.22}
    assert tokens("one_language", "per_language_1") == {"en": 46.08}
    assert of_language(accounts, "en") == pytest.approx(61.44, abs=0.02)
    assert of_language(accounts, "fr") == pytest.approx(15.36, abs=0.02)


@pytest.mark.parametrize("names", [("one_run",), ("one_run", "per_language_run")])
def test_baselines_have_as_many_tokens_as_the_stages(names):
    stages = tokens(*names)
    mixed = tokens("baseline_mixed", *(["per_language_baseline"] if len(names) > 1 else []))
    for language in ("en", "fr"):
        assert mixed[language] == pytest.approx(of_language(stages, language), abs=0.02)
    assert tokens("baseline_en") == {"en": 46.08} and tokens("baseline_fr") == {"fr": 15.36}


def test_the_scores_load():
    config = parse_score_configuration(["CHECKPOINT", "--config", str(FOLDER / "score.yaml"), "--output", "r.json"])
    assert config.scores.pairs.manifests["stories"].stores == ["units/story_pairs"]
    assert set(config.scores.pairs.folders) == {"sblimp", "swuggy"} and config.scores.alignment.sets


@pytest.mark.parametrize("page", ["recipes/cross_lingual_interleaving/README.md", "docs/cross_lingual_interleaving.md"])
def test_pages_name_files_that_are_there_in_short_lines(page):
    text = (ROOT / page).read_text("utf-8")
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 100
    for name in re.findall(r"--config (recipes/\S+\.yaml)", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"\$R/(\w+\.yaml)", text):
        assert (FOLDER / name).is_file(), name
