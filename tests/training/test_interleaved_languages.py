"""Cross-lingual interleaving from stories to a model: one run of three stages, planned, killed, resumed, accounted."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from cslm.codecs.card import Card, save_card
from cslm.configuration import load_configuration
from cslm.planning import inspect_sequences, plan
from cslm.training import pretrain
from tests.training.processes import finish, start
from tests.worlds.flat_training import grouped
from tests.worlds.small_village import CODEBOOK_SIZE
from tests.worlds.spoken_stories import store_of, told_in
from tests.worlds.textless_world import SCRATCH
from tests.worlds.tiny_world import write_config

STEPS = 24


def steps_of(*values: float) -> dict:
    return {"values": list(values), "at": [0.0, 0.5, 0.75], "shape": "steps"}


def configuration(root: Path, output: str, **training: object) -> dict:
    """English alone, then both in one story, then languages in turn; documents of 48 ids."""
    settings = {"max_steps": STEPS, "tokens_per_step": 480, "tokens_per_micro_batch": 96, "max_length": 48,
                "learning_rate": 0.003, "log_every": 1, "save_every": 3, "num_threads": 1}  # fmt: skip
    story = {"task": "story", "store": "units"}
    grouped_settings = grouped(**settings | training)
    grouped_settings.setdefault("data", {})["alternate"] = "language"
    return {
        "data_root": str(root),
        "output": output,
        "model": {"textless": True, **SCRATCH},
        "tokenizer_card": "tokenizer/card.yaml",
        "sources": {
            "english": {**story, "languages": ["en"], "weight": steps_of(1, 0, 1)},
            "both": {**story, "weight": steps_of(0, 1, 0)},
            "french": {**story, "languages": ["fr"], "weight": steps_of(0, 0, 1)},
        },
        "training": grouped_settings,
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory, module_cache):
    folder = tmp_path_factory.mktemp("stories")
    store = store_of(folder / "units", told_in(["en", "fr"], 12, 5))
    card = Card("small", "mel_kmeans", 16_000, 25.0, (CODEBOOK_SIZE,), {}, fingerprint=store.fingerprint)
    save_card(card, folder / "tokenizer" / "card.yaml", {"centroids": np.zeros((CODEBOOK_SIZE, 2), dtype=np.float32)})
    pretrain.main(["--config", str(write_config(folder / "whole.yaml", configuration(folder, "whole")))])
    return folder


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def curve(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_killed_on_two_processes_and_gone_on_with_one_it_has_the_same_curve(root):
    file = write_config(root / "killed.yaml", configuration(root, "killed"))
    processes = start(2, "recipes/pretrain.py", "--config", str(file))
    metrics, deadline = root / "killed" / "metrics.jsonl", time.monotonic() + 300
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 16):
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.02)
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()
    assert len(curve(root / "killed")) < STEPS, "it was killed before its end"
    printed = finish(start(1, "recipes/pretrain.py", "--config", str(file)))
    assert "resuming from step" in printed
    for one, other in zip(curve(root / "killed"), curve(root / "whole"), strict=True):
        assert one["consumed"] == other["consumed"] and one["step"] == other["step"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    accounts = [json.loads((root / name / "finished.json").read_text())["accounts"] for name in ("killed", "whole")]
    assert accounts[0] == accounts[1]


def test_every_step_learns_one_source_and_stages_follow_each_other(root):
    rows = curve(root / "whole")
    before, learnt = {}, []
    for row in rows:
        (name,) = [name for name, tokens in row["consumed"].items() if tokens > before.get(name, 0)]
        before = row["consumed"]
        learnt.append(name)
    assert learnt[:11] == ["english"] * 11
    assert "both" not in learnt[20:] and learnt.count("both") in (5, 6, 7)
    assert sorted(learnt[-4:]) == ["english", "english", "french", "french"]


def test_tokens_by_language_and_stage_are_told_before_and_after(root, capsys):
    file = write_config(root / "again.yaml", configuration(root, "again"))
    plan.main(["--config", str(file), "--cpu", "true"])
    planned = capsys.readouterr().out
    assert "tokens of stage 1: 5,760; en 5,760 (100.0%)" in planned
    assert "the source both: a document has 48 ids: about 2 of 12 in a row, the last of them cut" in planned
    accounts = json.loads((root / "whole" / "finished.json").read_text())["accounts"]
    before = plan.plan(load_configuration(plan.PlanConfig, file))["accounts"]
    assert set(accounts) == set(before) == {"1/en", "2/en", "2/fr", "3/en", "3/fr"}
    for name, tokens in before.items():
        assert accounts[name] == pytest.approx(tokens, abs=2 * 480), name
    assert sum(accounts.values()) == sum(curve(root / "whole")[-1]["consumed"].values())


def test_inspect_shows_stories_with_their_languages(root, capsys):
    file = write_config(root / "seen.yaml", configuration(root, "seen"))
    inspect_sequences.main(["--config", str(file), "--source", "both", "--count", "1", "--full", "true"])
    shown = capsys.readouterr().out
    assert "source both  task story  48 ids, 47 learnt" in shown
    speech = [line.split()[3] for line in shown.splitlines() if line[0:1] == "*" and " speech " in line]
    assert set(speech) == {"en", "fr"} and shown.count("<20>") + shown.count("<21>") > 5
    inspect_sequences.main(["--config", str(file), "--slot", "0", "--row", "0"])
    assert "row 0 of 5 in the step at slot 0: 2 documents" in capsys.readouterr().out


def test_inspect_lists_what_is_left_out_by_name(root, capsys):
    rows = [row for row in told_in(["en", "fr"], 9, 5) if (row.document, row.place) != ("story-7", 2)]
    store_of(root / "gaps", rows)
    config = configuration(root, "listed")
    for source in config["sources"].values():
        source["store"] = "gaps"
    inspect_sequences.main(["--config", str(write_config(root / "l.yaml", config)), "--left_out", "true"])
    shown = capsys.readouterr().out
    assert "the source both: stories read in parts, for sentences inside are missing: 1\n  story-7\n" in shown
    assert "slot" not in shown
