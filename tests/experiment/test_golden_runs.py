"""Tiny runs whose masks and counts are frozen: what a change of code must not change unnoticed.

Losses and accuracies depend on the CPU. These masks do not: weights are float64, so that what
separates the last that stays from the first that goes is some million times what CPUs differ by.
A digest that changes on purpose is changed here, and the commit says why.
"""

import tomllib
from pathlib import Path

import pytest
from forked_ranks import on_ranks
from silent import ME, Silent

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build

TINY = (
    "data=blobs model=mlp training.epochs=2 retraining.epochs=1 calibration.samples=64 "
    "sensitivity.grid=[0.1,0.5] schedule=one_shot tracking=none dtype=float64 seed=3"
)
RUNS = tomllib.loads(Path(__file__).with_name("golden_runs.toml").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_masks_and_counts_of_a_run_are_those_of_before(name, tmp_path) -> None:
    assert found(Ranks(), name, tmp_path) == RUNS[name]["records"]


@pytest.mark.parametrize("name", ["SET", "gradients, one for all layers"])
def test_two_ranks_come_to_the_same(name, tmp_path) -> None:
    assert on_ranks(2, found, name, tmp_path)[0] == RUNS[name]["records"]


def found(ranks: Ranks, name: str, dense: Path) -> list[str]:
    experiment = build(compose_config([*TINY.split(), *RUNS[name]["overrides"].split()]))
    sink = Silent()
    runner.run(Recorder(*runner.prepare(experiment, ranks, dense), ME, sink))
    return [
        f"{record.level} {record.stage} {record.masks or '-'} {record.parameters} {record.macs}"
        for record in sink.records
    ]
