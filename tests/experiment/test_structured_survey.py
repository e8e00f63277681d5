"""A cell of sweep=structured_survey meets its speed-up in a network that is cut and proven."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import only_run, records_of, run_main
from conftest import CONF
from omegaconf import OmegaConf

import harness

CELL = (
    "sweep=structured_survey", "model=lenet_5", "schedule.final=4", "data.train=64",
    "data.test=32", "data.validation=32", "calibration.samples=16", "training.epochs=1",
    "training.learning_rate.milestones=[1]", "retraining.epochs=1", "tracking=none",
)  # fmt: skip
# 0.42 of 20 and of 50 filters: 557,000 of 2,293,000 multiply-accumulates.
FILTERS = {"conv1.weight": (8, 1, 5, 5), "conv2.weight": (21, 8, 5, 5), "fc1.weight": (500, 336)}


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory) -> Iterator[Path]:
    runs = tmp_path_factory.mktemp("cell")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = (*CELL, "method=scratch_b_filters", f"output_dir={runs}")
        assert run_main(monkeypatch, *run) == 0
    yield only_run(runs, "structured_survey")


def test_new_weights_of_the_smaller_network_are_trained_for_the_compute_of_the_dense(folder):
    dense, _, trained = records_of(folder)
    assert trained.stage == "finetuned" and trained.speedup == 2_293_000 / 557_000
    assert (dense.examples, trained.examples) == (64, 64 * 4)
    assert trained.training_flops == pytest.approx(dense.training_flops, rel=0.05)


def test_what_is_written_is_the_smaller_network(folder) -> None:
    weights = dict(harness.load(folder)[0].named_parameters())
    assert {name: tuple(weights[name].shape) for name in FILTERS} == FILTERS
    assert sum(weight.numel() for weight in weights.values()) == records_of(folder)[-1].parameters


def test_methods_of_the_sweep_choose_filters_of_equal_widths() -> None:
    node = OmegaConf.load(CONF / "sweep" / "structured_survey.yaml")
    names = node.hydra.sweeper.params.method.replace(" ", "").split(",")
    assert len(names) == 9
    for name in names:
        method = OmegaConf.load(CONF / "method" / f"{name}.yaml")
        parts = {key: part for each in method.defaults for key, part in each.items()}
        assert (parts["override /structure"], parts["override /allocation"]) == (
            "filter", "uniform",
        )  # fmt: skip
