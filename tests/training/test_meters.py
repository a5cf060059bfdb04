from __future__ import annotations

import json

import pytest
import torch

from cslm.errors import UserError
from cslm.model.loss import LossOutput
from cslm.training.engine import start_processes
from cslm.training.meters import LossMeter, RunLog, check_finite
from cslm.training.state import TrainingState


def output(sums, counts):
    sums, counts = torch.tensor(sums), torch.tensor(counts)
    return LossOutput(sums.sum(), int(counts.sum()), sums, counts, counts / 2)


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
    result = {"loss": 2.0, "groups": {"asr/text/en": 1.0, "asr/text/zh": 3.0}, "accuracy": {},
              "counts": {"asr/text/en": 1, "asr/text/zh": 3}}  # fmt: skip
    log = RunLog(tmp_path, 9, TrainingState())
    for step in (1, 2, 3):
        log.write(TrainingState(step, 100 * step, consumed={"asr": 100 * step}), result, 1e-3, 0.5)
    log.close()
    assert "step 1/9  loss 2.000  [asr/text 2.50]  grad 0.50  lr 1.00e-03" in capsys.readouterr().out
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 4, "lo')
    RunLog(tmp_path, 9, TrainingState(step=2, tokens=200)).close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[1]["tokens"] == 200
    assert rows[1]["groups"] == result["groups"]
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
