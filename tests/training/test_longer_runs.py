"""A run goes on: made longer, from an older checkpoint where the newest is damaged, on the data that it began with."""

from __future__ import annotations

import json

import pytest

from cslm.errors import UserError
from cslm.training import pretrain
from cslm.training.schedule import learning_rate_at
from tests.training.run_tiny import run as run_tiny
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_world import make_world, pretrain_config, text_lm_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = make_world(tmp_path_factory.mktemp("world"))
    run(root, text_lm_config(root, max_steps=1))
    return root


def run(root, config, *arguments):
    pretrain.main(["--config", str(write_config(root / "run.yaml", config)), *arguments])


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_made_longer_by_max_tokens(world, capsys):
    config = pretrain_config(world, final_learning_rate=0.001) | {"output": "longer"}
    run(world, config)
    first = rows(world / "longer")
    run(world, config, "--training.max_tokens", "1800")
    printed = capsys.readouterr().out
    assert "began with a schedule of 4 steps, which stays: it now ends at step 6" in printed
    assert "from step 5 on its learning rate is 0.001" in printed
    found = rows(world / "longer")
    assert [row["step"] for row in found] == [1, 2, 3, 4, 5, 6] and found[:4] == first
    assert [row["lr"] for row in found[4:]] == [0.001, 0.001]
    assert json.loads((world / "longer" / "finished.json").read_text())["steps"] == 6


def test_a_stopped_run_keeps_its_schedule_when_it_is_made_longer(world):
    config = pretrain_config(world) | {"output": "stopped"}
    run(world, config, "--training.max_steps", "2")
    run(world, config, "--training.max_tokens", "1500")
    whole = training_config(max_tokens=1200, tokens_per_step=300, learning_rate=0.003)
    expected = [learning_rate_at(whole, step) for step in range(5)]
    assert [row["lr"] for row in rows(world / "stopped")] == pytest.approx(expected)


def test_a_rate_that_has_come_to_nothing_is_said_and_may_be_raised(world, capsys):
    config = pretrain_config(world) | {"output": "nothing"}
    run(world, config, "--training.max_steps", "1")
    with pytest.raises(UserError, match="final_learning_rate"):
        run(world, config, "--training.schedule.final_learning_rate", "0.001")
    run(world, config)
    run(world, config, "--training.max_tokens", "1500")
    assert "raise training.schedule.final_learning_rate" in capsys.readouterr().out
    longer = config | {"output": "nothing"}
    run(world, longer, "--training.max_tokens", "1800", "--training.schedule.final_learning_rate", "0.001")
    assert [row["lr"] for row in rows(world / "nothing")][4:] == [0, 0.001]


def cut(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


def states(output, step):
    return output / "checkpoints" / f"step-{step:08d}" / "zero_pp_rank_0_mp_rank_00_optim_states.pt"


@pytest.mark.parametrize("damage", [cut, flip, lambda file: file.unlink(), lambda file: file.write_bytes(b"")])
def test_a_damaged_checkpoint_gives_way_to_the_older_one_and_both_are_named(tmp_path, capsys, damage):
    run_tiny(tmp_path, 2, 4)
    before = rows(tmp_path)
    damage(states(tmp_path, 4))
    run_tiny(tmp_path, 2, 5)
    printed = capsys.readouterr().out
    assert "step-00000004: this checkpoint cannot be loaded (" in printed
    assert "going on from the older step-00000003 instead" in printed
    assert rows(tmp_path)[3]["loss"] == before[3]["loss"] and rows(tmp_path)[-1]["step"] == 5
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000005\n"


def test_a_checkpoint_without_its_state_gives_way_too(tmp_path, capsys):
    run_tiny(tmp_path, 2, 4)
    (tmp_path / "checkpoints" / "step-00000004" / "state.json").write_text("{")
    run_tiny(tmp_path, 2, 4)
    assert "step-00000004: damaged checkpoint" in capsys.readouterr().out


def test_checkpoints_that_are_all_damaged_are_refused_and_named(tmp_path):
    run_tiny(tmp_path, 2, 4)
    for step in (3, 4):
        cut(states(tmp_path, step))
    with pytest.raises(UserError, match="step-00000004: .*step-00000003: .*no older one is whole"):
        run_tiny(tmp_path, 2, 5)


def test_documents_that_were_added_or_replaced_between_stop_and_resume_are_refused_by_source(tmp_path, capsys):
    root = make_world(tmp_path)
    run(root, text_lm_config(root, max_steps=1))
    config = pretrain_config(root)
    file = root / "translations.jsonl"
    first, *rest = file.read_text(encoding="utf-8").splitlines(keepends=True)
    run(root, config, "--training.max_steps", "1")
    replaced = first.replace('"id": "0"', '"id": "x"')
    assert len(replaced) == len(first) and replaced != first
    for lines in ([*rest, first], [replaced, *rest], rest):
        file.write_text("".join(lines), encoding="utf-8")
        with pytest.raises(UserError, match=r"in the source mt: .*--training\.data\.accept_changed_data true"):
            run(root, config)
    run(root, config, "--training.data.accept_changed_data", "true", "--training.max_steps", "2")
    assert "accepted: other data than before in the source mt" in capsys.readouterr().out
    run(root, config)  # its checkpoint is of what is there now
    assert rows(root / "pretrain")[-1]["step"] == 4


def test_a_store_that_was_made_anew_is_refused_by_source(tmp_path):
    root = make_world(tmp_path / "one")
    run(root, text_lm_config(root, max_steps=1))
    run(root, pretrain_config(root), "--training.max_steps", "1")
    import numpy as np

    from cslm.units.store import UnitStore, write_store
    from tests.worlds.tiny_world import FINGERPRINT, NUM_UNITS

    rows_of_store = [UnitStore.open(root / "units").row(index) for index in range(40)]
    (root / "units").rename(root / "before")
    facts = {"fingerprint": FINGERPRINT, "card": "tiny", "codebook_sizes": (NUM_UNITS,), "frame_rate_hz": 25.0}
    write_store(root / "units", rows_of_store, **facts)
    assert np.array_equal(rows_of_store[0].units.ids, UnitStore.open(root / "before").row(0).units.ids)
    with pytest.raises(UserError, match="in the source asr, tts"):
        run(root, pretrain_config(root))
