"""Every YAML of ``recipes/`` loads, and trains two steps on a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cslm.codecs.fit_tokenizer import FitTokenizerConfig
from cslm.codecs.mel_kmeans import MelKMeans, MelKMeansParameters
from cslm.configuration import load_configuration
from cslm.evaluation.score import parse_score_configuration
from cslm.planning.inspect_sequences import InspectSequencesConfig
from cslm.planning.lr_find import LrFindConfig
from cslm.planning.plan import PlanConfig
from cslm.training.language_model_config import FinetuneConfig
from cslm.training.pretrain import PretrainConfig
from cslm.training.prompt_config import TrainPromptConfig
from cslm.training.train_decoder import TrainDecoderConfig
from tests.recipes.conftest import ROOT, TINY_MODEL, two_steps
from tests.worlds.tiny_checkpoint import tone

RECIPES = ROOT / "recipes"
OF_OTHERS = ("forgetting", "cross_lingual_interleaving", "village/xli", "village/xs_cot", "speech_prompt")
OF_OTHERS += ("behaviour_imitation", "language_aware_distillation", "village/prompt")
"""their YAML is read by lm-evaluation-harness (test_forgetting.py), or one behind the other (tests of their own)"""
YAMLS = sorted(path for path in RECIPES.rglob("*.yaml") if str(path.parent.relative_to(RECIPES)) not in OF_OTHERS)
NAMES = [str(path.relative_to(RECIPES)) for path in YAMLS]

# name of a YAML file -> the configuration that it fills, and what the command line adds to it
KINDS = {
    "tokenizer": (FitTokenizerConfig, ["--manifests", '["train.jsonl"]', "--output", "card.yaml"]),
    "tokenizer_bounded": (FitTokenizerConfig, ["--manifests", '["train.jsonl"]', "--output", "card.yaml"]),
    "text_lm": (PretrainConfig, []),
    "pretrain": (PretrainConfig, []),
    "train": (PretrainConfig, []),
    "decoder": (TrainDecoderConfig, []),
    "finetune": (FinetuneConfig, []),
    "asr": (PretrainConfig, []),
    **dict.fromkeys(("explicit", "compressed", "removed", "direct", "transcript_then_answer"), (FinetuneConfig, [])),
    **dict.fromkeys(("prompt_asr", "prompt_explicit", "prompt_compressed", "prompt_direct"), (TrainPromptConfig, [])),
}
WITHOUT_DECODER = ("paper/", "xs_cot/")
MEASURED_ONLY = ("tokenizer_bounded",)
"""of the small village, beside the stages of its quickstart"""
NOT_TRAINED = ("tokenizer", "tokenizer_bounded", "score")
# the recipes that learn from the village, whose tiny form the tests have
VILLAGE = [name for name in NAMES if name.startswith("village/") and Path(name).stem not in NOT_TRAINED]


@pytest.mark.parametrize("name", NAMES)
def test_every_yaml_loads(name):
    if Path(name).stem in ("score", "prompt_score"):
        arguments = ["finetune", "--config", str(RECIPES / name), "--output", "results.json"]
        config = parse_score_configuration(arguments)
    else:
        kind, arguments = KINDS[Path(name).stem]
        config = load_configuration(kind, RECIPES / name, *arguments)
    given = yaml.safe_load((RECIPES / name).read_text("utf-8"))
    scalars = {key: value for key, value in given.items() if not isinstance(value, dict | list)}
    assert {key: getattr(config, key) for key in scalars} == scalars


@pytest.mark.parametrize("before", [PlanConfig, InspectSequencesConfig, LrFindConfig])
@pytest.mark.parametrize("name", [name for name in NAMES if KINDS.get(Path(name).stem, (None,))[0] is FinetuneConfig])
def test_what_looks_at_a_run_before_it_refused_the_yaml_of_finetune(before, name):
    """Its key ``decoder`` was unknown to them."""
    assert load_configuration(before, RECIPES / name).decoder == "decoder" or name.startswith(WITHOUT_DECODER)


@pytest.mark.parametrize("folder", sorted({str(Path(name).parent) for name in NAMES}))
def test_every_recipe_has_its_readme(folder):
    places = [RECIPES / folder, (RECIPES / folder).parent]
    assert any((place / "README.md").is_file() for place in places if place != RECIPES)


def test_both_sizes_of_the_village_have_the_same_files():
    sizes = [{path.name for path in (RECIPES / "village" / size).glob("*.yaml")} for size in ("small", "full")]
    assert sizes[0] - {f"{name}.yaml" for name in MEASURED_ONLY} == sizes[1]


def test_what_is_measured_against_a_stage_differs_from_it_in_one_thing():
    small = RECIPES / "village" / "small"
    bounded = yaml.safe_load((small / "tokenizer_bounded.yaml").read_text("utf-8"))
    parameters = MelKMeansParameters(**bounded.pop("parameters"))
    assert bounded == yaml.safe_load((small / "tokenizer.yaml").read_text("utf-8"))
    tones = [tone(2.0, 16000, 150.0 + 80 * index, index) for index in range(4)]
    codec, _ = MelKMeans.fit(tones, name="bounded", parameters=parameters, codebook_size=4, seed=0)
    assert codec.reach_samples is not None and codec.reach_samples / codec.sample_rate_hz < 0.5


@pytest.mark.parametrize("name", VILLAGE)
def test_two_steps_on_a_tiny_model(name, hamlet):
    stage = Path(name).stem
    output = hamlet / name.removesuffix(".yaml")
    more = [*TINY_MODEL, "--text_tokenizer.vocab_size", "600"] if stage == "text_lm" else []
    verb = stage.removesuffix("_live")
    two_steps(verb, stage, hamlet, "--output", str(output), *more, recipe=(RECIPES / name).parent)
    assert (output / "model.safetensors").is_file() and (output / "config.yaml").is_file()


@pytest.mark.parametrize("name", VILLAGE)
def test_speakers_of_the_village_are_its_answer_voices(name):
    tables = [yaml.safe_load((ROOT / "cslm/village/data" / f"{it}.yaml").read_text("utf-8")) for it in ("en", "zh")]
    voices = {table["answer_voice"]["voice"] for table in tables}
    recipe = yaml.safe_load((RECIPES / name).read_text("utf-8"))
    named = [set(source["speakers"]) for source in recipe.get("sources", {}).values() if source.get("speakers")]
    named += [{voice for speakers in recipe["voices"].values() for voice in speakers}] if "voices" in recipe else []
    assert all(names == voices for names in named)


def test_a_script_found_the_folder_of_recipes_in_place_of_the_package(tmp_path):
    """Beside the scripts stands ``recipes/paper``, and an editable install is looked at after a script's own folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "recipes" / "pretrain.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
