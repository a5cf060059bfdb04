"""The recipe of XS-CoT: planned, looked at and trained through its stages, two steps each, and asked."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import torch

from cslm import CSLMForCausalLM, cli
from cslm.codecs.units import Units
from cslm.configuration import parse_configuration
from cslm.evaluation.score import parse_score_configuration
from cslm.generation.decoding import DecodingConfig
from cslm.training import pretrain
from cslm.training.finetune import FinetuneConfig
from cslm.training.pretrain import PretrainConfig
from tests.recipes.conftest import ROOT
from tests.worlds.small_village import some_units
from tests.worlds.tiny_chains import make_chains
from tests.worlds.tiny_world import text_lm_config, write_config

RECIPE = ROOT / "recipes" / "xs_cot"
STAGES = ("asr", "explicit", "compressed", "removed", "direct", "transcript_then_answer")
TINY = ["--training.max_steps", "2", "--training.tokens_per_step", "300", "--training.tokens_per_micro_batch", "300"]
TINY += ["--training.max_length", "300", "--training.device.num_threads", "1", "--training.device.precision", "fp32"]
TINY += ["--model.dtype", "float32", "--training.device.gradient_checkpointing", "false"]
PATHS = {"asr": ["--sources.asr.store", "units", "--sources.questions.store", "units", "--model.base", "text_lm"]}


def of_stage(stage: str, root) -> list[str]:
    store = PATHS.get(stage, ["--sources.chains.store", "units"])
    return ["--config", str(RECIPE / f"{stage}.yaml"), "--data_root", str(root), *store]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A world in which stages 1 to 3 were trained for two steps each."""
    root = make_chains(tmp_path_factory.mktemp("world"))
    pretrain.main(["--config", str(write_config(root / "text_lm.yaml", text_lm_config(root, max_steps=1)))])
    for stage in ("asr", "explicit", "compressed"):
        cli.dispatch(["pretrain" if stage == "asr" else "finetune", *of_stage(stage, root), *TINY])
    return root


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_planned(world, stage, capsys):
    cli.dispatch(["plan", *of_stage(stage, world), *TINY])
    assert re.search(rf"^(chains|asr) +{'asr' if stage == 'asr' else 'dialogue'} ", capsys.readouterr().out, re.M)


def test_documents_are_shown_as_they_are_at_a_share_of_the_training(world, capsys):
    shown = {}
    for progress in (0, 0.25, 1):
        cli.dispatch(["inspect", *of_stage("compressed", world), *TINY, "--count", "1", "--progress", str(progress)])
        shown[progress] = capsys.readouterr().out
    assert [shown[progress].count("...") for progress in shown] == [0, 1, 3]
    cli.dispatch(["inspect", *of_stage("removed", world), *TINY, "--count", "1", "--progress", "1"])
    out = capsys.readouterr().out
    assert "[answer]" in out and not re.search(r"\[(question|translation|thought)\]", out)


def test_a_checkpoint_of_stage_3_answers_in_text(world):
    section = json.loads((world / "compressed" / "config.json").read_text())["speech"]
    assert section["order"] == "xs_cot" and set(section["further_markers"]) == {"[translation]", "[thought]"}
    card = world / "compressed" / "speech" / "card.yaml"
    card.rename(card.with_suffix(".aside"))  # a made-up one: nothing is heard here
    model = CSLMForCausalLM.from_pretrained(world / "compressed").eval()
    card.with_suffix(".aside").rename(card)
    units = Units(some_units(8).ids % 12)
    decoding, generator = DecodingConfig(max_new_tokens=40, temperature=1.0), torch.Generator().manual_seed(0)
    answers = model.tasks().answer([units] * 4, ["zh"] * 4, ["zh"] * 4, decoding, generator)
    vocabulary = model.processor.vocabulary
    assert not any(vocabulary.is_unit(token_id) for answer in answers for token_id in answer.ids)
    assert vocabulary.sosp not in {token_id for answer in answers for token_id in answer.ids}


def test_what_the_page_names_is_there():
    page = (RECIPE / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    commands = [words for words in (shlex.split(line) for line in blocks.splitlines()) if words]
    assert len(commands) >= 10
    for words in commands:
        assert words[0] == "cslm" and words[1] in cli.VERBS
        assert all((ROOT / word).is_file() for word in words if word.endswith(".yaml") and word.startswith("recipes"))
        if words[1] == "score":  # the page once said --checkpoint, which there is not
            assert parse_score_configuration(words[2:]).checkpoint.startswith("DATA/")
        elif words[1] in ("pretrain", "finetune"):
            config_class = PretrainConfig if words[1] == "pretrain" else FinetuneConfig
            assert parse_configuration(config_class, words[2:], words[1]).sources
    assert {path.name for path in RECIPE.glob("*.yaml")} == set(re.findall(r"^\| `(\w+\.yaml)`", page, re.MULTILINE))


def test_the_lines_of_the_pages_are_short():
    for page in (RECIPE / "README.md", ROOT / "docs" / "xs_cot.md"):
        assert all(len(line) <= 100 for line in page.read_text(encoding="utf-8").splitlines()), page.name
