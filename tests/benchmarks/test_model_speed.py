"""The benchmark of a device, on a model that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cslm.benchmarks.model_speed import IDLE, OTHER, by_kind, kind_of
from tests.training.processes import ROOT, clean_environment

TINY = {"hidden_size": 64, "intermediate_size": 96, "num_layers": 1, "num_heads": 2, "num_key_value_heads": 1,
        "vocab_size": 256, "row": 2048, "rows_per_step": 1, "warm_steps": 1, "steps": 1, "repeats": 2,
        "profiled_steps": 1, "precision": "fp32", "zero_stage": 0}  # fmt: skip


def test_a_tiny_model_is_measured_and_profiled(tmp_path):
    """The MFU is that of the log: operations by what this CPU does at most."""
    file = tmp_path / "found.json"
    options = [word for name, value in TINY.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(ROOT / "tools" / "bench_mfu.py"), *options, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=clean_environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert 0 < found["mfu"] < 1.2 and found["tokens_per_sec"] > 0
    assert len(found["rows"]) == 2 and min(row["mfu"] for row in found["rows"]) <= found["mfu"]
    shares = {part["kind"]: part["share"] for part in found["profile"]}
    assert shares["matrix products"] > 0.02 and sum(shares.values()) == pytest.approx(1)
    assert f"MFU {found['mfu']:.1%}" in done.stdout and "| matrix products |" in done.stdout


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize256x128x64", "matrix products"),
        ("nvjet_tst_192x192_64x4_2x1_v_bz_coopB_TNN", "matrix products"),
        ("void pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<...>", "attention"),
        ("ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL", "communication"),
        ("liger_cross_entropy_kernel", "loss"),
        ("void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, ...>", OTHER),
        (IDLE, IDLE),
    ],
)
def test_kernels_are_known_by_their_names(name, kind):
    assert kind_of(name) == kind


def test_shares_by_kind():
    parts = by_kind([("aten::mm", 3.0), ("aten::addmm", 3.0), ("aten::mul", 2.0), ("aten::fill_", 0.0)])
    assert [(part.kind, part.share) for part in parts] == [("matrix products", 0.75), (OTHER, 0.25)]
