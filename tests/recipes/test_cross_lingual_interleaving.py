"""The runs of cross-lingual interleaving: each YAML loads, their tokens are those of the paper's table.

The commands of README.md and of docs/cross_lingual_interleaving.md run on a few stories and a tiny base.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from cslm import cli
from cslm.batches.source_checks import check_keys
from cslm.codecs.card import Card, save_card
from cslm.configuration import parse_configuration
from cslm.evaluation.score import parse_score_configuration
from cslm.planning.planned_data import plan_sources, planned_accounts
from cslm.sequences.tasks import TASKS
from cslm.synthesis.aligned import AlignedConfig
from cslm.synthesis.stories import StoriesConfig
from cslm.synthesis.topic_pairs import TopicPairsConfig
from cslm.training import pretrain
from cslm.training.pretrain import PretrainConfig
from tests.recipes.conftest import ROOT, TWO_STEPS
from tests.worlds.small_village import CODEBOOK_SIZE
from tests.worlds.spoken_stories import sentence, store_of, told_in
from tests.worlds.textless_world import save_text_model

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


def commands(page: str) -> list[list[str]]:
    """The commands of a page, ``$R`` spelt out; behind deepspeed stands the script that it starts."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line.replace("$R", "recipes/cross_lingual_interleaving")) for line in lines]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the commands are typed: the recipes, and DATA with stores, a card called mimi and a small base."""
    root = tmp_path_factory.mktemp("place")
    (root / "recipes").symlink_to(ROOT / "recipes")
    data = root / "DATA"
    alone = [sentence(story, 0, "en", document=None, place=None) for story in range(20)]
    store = store_of(data / "units" / "stories", told_in(["en", "fr"], 12, 5))
    store_of(data / "units" / "libriheavy", alone)
    card = Card("mimi", "mel_kmeans", 16_000, 25.0, (CODEBOOK_SIZE,), {}, fingerprint=store.fingerprint)
    save_card(card, data / "mimi" / "card.yaml", {"centroids": np.zeros((CODEBOOK_SIZE, 2), dtype=np.float32)})
    (data / "Qwen").mkdir()
    save_text_model(data / "Qwen" / "Qwen2-0.5B", "qwen2", max_position_embeddings=2048)
    return root


def test_the_commands_of_the_pages_run(place, monkeypatch, capsys):
    """Stages go on from each other; what is made and scored has tests of its own, and is read here."""
    monkeypatch.chdir(place)
    ran = []
    tiny = [*TWO_STEPS, "--training.tokens_per_step", "4096", "--training.device.precision", "fp32"]
    tiny += ["--model.dtype", "float32", "--training.device.gradient_checkpointing", "false"]
    for page in ("recipes/cross_lingual_interleaving/README.md", "docs/cross_lingual_interleaving.md"):
        for words in commands(page):
            verb = words[1] if words[0] == "cslm" else words[0]
            if verb in ("plan", "inspect"):
                cli.dispatch(words[1:])
            elif verb == "deepspeed" and "1b" not in " ".join(words) and "per_language" not in " ".join(words):
                assert words[1] == "recipes/pretrain.py"
                pretrain.main([*words[2:], *tiny])
            ran.append(verb)
    shown = capsys.readouterr().out
    assert {"plan", "inspect", "deepspeed", "prepare-corpus", "tokenize-corpus", "score", "show"} <= set(ran)
    assert re.search(r"tokens of stage 2: 12,288,000,000; en [56],[\d,]+ \([45].*%\), fr ", shown)
    assert "source interleaved  task story" in shown
    for stage, account in (("one_language", {"en"}), ("interleaved", {"en", "fr"}), ("alternating", {"en", "fr"})):
        assert set(json.loads((place / "DATA" / stage / "finished.json").read_text())["accounts"]) == account


def test_the_commands_that_make_stories_have_the_options_that_there_are():
    made = [words for words in commands("recipes/cross_lingual_interleaving/README.md") if "prepare-corpus" in words]
    kinds = {"stories": StoriesConfig, "aligned": AlignedConfig, "topic_pairs": TopicPairsConfig}
    told = [words for words in made if words[2] in kinds and "--help" not in words]
    assert [words[2] for words in told] == ["stories", "aligned", "topic_pairs"]
    for words in told:
        parse_configuration(kinds[words[2]], words[4:], words[2])
