"""Measures what a run will cost, by some of its steps."""

import time
from pathlib import Path

import torch

from harness.distributed import ranks_of_environment
from harness.experiment.runner import prepare
from harness.launch.execute import build, config_part
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import RunCost
from harness.model_state.whole_state import whole_state
from harness.training.context import Hooks
from harness.vocabulary.step_index import StepIndex

BENCHMARK_STEPS = 16  # steps


def benchmark_run(spec: RunSpec) -> RunCost:
    """Measures the cost of an epoch by some steps of dense training in one process.

    The time of evaluations and prunings is not included.
    """
    values = spec.values
    torch.set_num_threads(values["threads"])
    experiment = build(spec.config)
    with ranks_of_environment(values["device"], config_part(spec.config, "ranks")) as ranks:
        context, state = prepare(experiment, ranks, Path())
        recipe, training = experiment.training, context.workload.training_context(0)
        steps = recipe.steps_per_epoch(len(training.split))
        recipe.fit(
            state.model, training, Hooks(), stop=StepIndex(0, 1)
        )  # the first step imports modules
        began = time.perf_counter()
        recipe.fit(state.model, training, Hooks(), stop=StepIndex(0, min(steps, BENCHMARK_STEPS)))
        seconds = (time.perf_counter() - began) * steps / min(steps, BENCHMARK_STEPS)
    whole, masks = whole_state(state.model).values(), state.masks.masks.values()
    size = sum(tensor.nbytes for tensor in whole) + sum(mask.numel() for mask in masks)
    return RunCost(round(seconds, 4), round(size / 1e6 + 0.1, 3))
