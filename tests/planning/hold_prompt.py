"""Run by test_plan_prompt.py, in a process whose tensors are its own: one step of train-prompt, and what is held.

Argument: the YAML of the run. Prints a JSON object of bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cslm.benchmarks.living_tensors import living_bytes
from cslm.configuration import load_configuration
from cslm.model.speech_prompt.prompt_losses import open_losses
from cslm.model.speech_prompt.prompt_objective import PromptObjective
from cslm.training import train_prompt
from cslm.training.engine import accumulate_gradients, start_engine, start_processes, update_weights
from cslm.training.language_model_config import RunPaths
from cslm.training.prompt_config import TrainPromptConfig


def hold(path: Path) -> dict[str, int]:
    """Bytes of weights, of gradients, of all that is held after a step, and how many frozen tensors have gradients."""
    config = load_configuration(TrainPromptConfig, path)
    start_processes(1)
    nothing = living_bytes()
    _, parts = train_prompt.open_run_parts(config, RunPaths(config))
    data = train_prompt.open_prompt_data(config, RunPaths(config), parts, scratch=path.parent)
    module = PromptObjective(parts.prompt, open_losses(config.losses), len(data.stream.groups), 16)
    weights = living_bytes() - nothing
    frozen = [parameter for parameter in module.prompt.llm.parameters() if not parameter.requires_grad]
    engine = start_engine(module, config.training)
    started = living_bytes()
    accumulate_gradients(engine, data.stream.step({}, 0, 1))
    gradients = living_bytes() - started
    with_gradients = sum(parameter.grad is not None for parameter in frozen)
    update_weights(engine, 1.0)
    held = living_bytes() - nothing
    return {
        "weights": weights, "gradients": gradients, "held": held, "frozen": len(frozen),
        "frozen_with_gradients": with_gradients,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(hold(Path(sys.argv[1]))))
