from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from cslm.errors import MissingExtraError, UserError
from cslm.model.objective import GroupReport, Objective, Term
from cslm.training.engine import start_processes
from cslm.training.meters import LossMeter, RunLog, SpikeWatch, _clock, check_finite
from cslm.training.state import TrainingState
from cslm.training.work_meter import DeviceWork

RESULT = {"loss": 2.0, "groups": {"asr/text/en": 1.0, "asr/text/zh": 3.0}, "accuracy": {},
          "counts": {"asr/text/en": 1, "asr/text/zh": 3}}  # fmt: skip
WORK = DeviceWork(flops=1e9, peak_flops=2e9, slots=125, peak_memory=3 << 30)


def output(sums, counts):
    sums, counts = torch.tensor(sums), torch.tensor(counts)
    return Objective({"loss": Term(sums.sum(), "targets")}, GroupReport(sums, counts, counts / 2))


def test_a_spike_is_named_and_slow_change_is_not():
    watch = SpikeWatch()
    lines = [{"loss": 5 * 0.9**step, "grad_norm": 0.4 + 0.01 * step} for step in range(30)]
    assert [watch.look(line) for line in lines] == [None] * 30
    assert watch.look({"loss": 0.4, "grad_norm": 8.0}) == "grad_norm is 8, the median of the last 20 lines 0.595"
    assert watch.look({"loss": 4.0, "grad_norm": 0.6}).startswith("loss is 4, the median")
    assert SpikeWatch().look({"loss": 100.0, "grad_norm": 100.0}) is None  # nothing to compare with


def test_a_term_that_nothing_was_counted_for_read_zero():
    start_processes(1)
    meter, report = LossMeter(["lad"]), GroupReport(*(torch.tensor([it]) for it in (6.0, 3.0, 0.0)))
    terms = {"output": Term(torch.tensor(6.0), "clips"), "input": Term(torch.tensor(0.0), "aligned_tokens", 5.0)}
    meter.add([Objective(terms, report, {"clips": 3, "aligned_tokens": 0})])
    result = meter.result()
    assert result["terms"] == {"output": 2.0} and result["loss"] == 2.0


def test_means_are_over_tokens_and_a_window_ends():
    start_processes(1)
    meter = LossMeter(["asr/text/en", "asr/text/zh", "tts/speech/en"])
    meter.add([output([4.0, 0.0, 9.0], [2.0, 0.0, 3.0]), output([2.0, 0.0, 0.0], [4.0, 0.0, 0.0])])
    result = meter.result()
    assert result["loss"] == pytest.approx(15 / 9)
    assert result["groups"] == pytest.approx({"asr/text/en": 1.0, "tts/speech/en": 3.0})
    assert result["accuracy"] == pytest.approx({"asr/text/en": 0.5, "tts/speech/en": 0.5})
    meter.add([output([1.0, 0.0, 0.0], [1.0, 0.0, 0.0])])
    assert meter.result()["groups"] == {"asr/text/en": 1.0}


def test_the_log_drops_what_comes_after_the_state_it_goes_on_from(tmp_path, capsys):
    log = RunLog(tmp_path, 9, TrainingState())
    for step in (1, 2, 3):
        log.write(TrainingState(step, 100 * step, consumed={"asr": 100 * step}), RESULT, 1e-3, 0.5, WORK)
    log.close()
    assert "step 1/9  loss 2.000  [asr/text 2.50]  grad 0.50  lr 1.00e-03" in capsys.readouterr().out
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "lo')
    RunLog(tmp_path, 9, TrainingState(step=2, tokens=200)).close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["tokens"] == 200
    assert rows[1]["groups"] == RESULT["groups"]
    assert rows[1]["consumed"] == {"asr": 200}
    assert set(rows[1]) >= {"loss", "lr", "grad_norm", "tokens_per_sec", "accuracy"}
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_loss_that_is_no_number_is_named():
    good = {"loss": 1.0, "groups": {"asr/text/en": 1.0}}
    check_finite(good, 1.0, TrainingState(step=5), 5)
    bad = {"loss": float("nan"), "groups": {"asr/text/en": 1.0, "tts/speech/zh": float("nan")}}
    with pytest.raises(UserError, match=r"loss is nan between steps 6 and 10 \(groups: tts/speech/zh\)"):
        check_finite(bad, 1.0, TrainingState(step=10), 5)
    with pytest.raises(UserError, match="gradient norm is inf"):
        check_finite(good, float("inf"), TrainingState(step=10), 5)


def test_a_line_tells_what_the_devices_do(tmp_path, capsys):
    log = RunLog(tmp_path, 9, TrainingState())
    log._since -= 10  # as if the first line were due ten seconds after the start
    log.write(TrainingState(1, 100), RESULT, 1e-3, 0.5, WORK)
    log.close()
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert row["mfu"] == pytest.approx(1e9 / 10 / 2e9, rel=0.01)
    assert (row["peak_memory_gib"], row["waiting"]) == (3.0, 0.2)
    assert row["seconds_left"] == pytest.approx(80, rel=0.01)
    assert "MFU 5.0%  3.0 GiB  waiting 20.0%  1:20 left" in capsys.readouterr().out


def test_what_is_not_known_is_left_out(tmp_path, capsys):
    log = RunLog(tmp_path, 2, TrainingState())
    log.write(TrainingState(1, 100), RESULT, 1e-3, 0.5, DeviceWork(None, 2e9, 100, 1 << 30))
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["mfu"] is None
    assert "MFU" not in capsys.readouterr().out


def test_hours_are_written_out():
    assert [_clock(seconds) for seconds in (5, 65, 3845, 360_000)] == ["0:05", "1:05", "1:04:05", "100:00:00"]


def test_weights_and_biases_gets_the_same_numbers(tmp_path, monkeypatch):
    runs = []

    def init(**arguments):
        run = SimpleNamespace(id=arguments["id"] or "abc", sent=[], told=arguments, finished=False)
        run.log = lambda values, step: run.sent.append((step, values))
        run.finish = lambda: setattr(run, "finished", True)
        runs.append(run)
        return run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for step in (1, 2):
        log = RunLog(tmp_path / "pretrain", 9, TrainingState(step - 1), "speech")
        log.write(TrainingState(step, 100 * step), RESULT, 1e-3, 0.5, WORK)
        log.close()
    first, resumed = runs
    assert (first.told["project"], first.told["name"], first.told["id"]) == ("speech", "pretrain", None)
    assert (resumed.told["id"], resumed.told["resume"]) == ("abc", "allow")
    ((step, sent),) = first.sent
    assert step == 1 and first.finished
    assert sent["train/loss"] == 2.0 and sent["train/waiting"] == 0.2 and sent["loss/asr/text/zh"] == 3.0


def test_weights_and_biases_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"training.wandb_project needs the package wandb: .*cslm\[tracking\]"):
        RunLog(tmp_path, 9, TrainingState(), "speech")


def test_weights_and_biases_stays_out_of_a_run_that_does_not_ask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    RunLog(tmp_path, 9, TrainingState()).close()
    assert (tmp_path / "metrics.jsonl").is_file() and list((tmp_path / "tensorboard").iterdir())
