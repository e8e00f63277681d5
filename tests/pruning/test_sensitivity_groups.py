"""Tests curves of groups: each group pruned alone, with the columns that read it."""

import math

import pytest
import torch
from command import TINY, only_run, records_of, run_main
from torch import Tensor, nn

from harness.allocation.sensitivity import Sensitivity
from harness.allocation.uniform import Uniform
from harness.experiment.layer_analysis import shown_name
from harness.groups.units import masks_of
from harness.pruning.density import layers_of
from harness.pruning.layer_curves import measure_curves
from harness.pruning.prunable import make_mask_store
from harness.pruning.pruner import NOTHING, Pruner
from harness.pruning.reader import Calibration
from harness.run_folder.curve_records import read
from harness.saliency.magnitude import Magnitude
from harness.structure.group import Group
from harness.training.evaluation import EvaluationResult
from harness.vocabulary.tensors import local_mean


class Summed(nn.Module):
    """Computes head(sigmoid(one(x) + other(x))), whose units are not 0 where their rows are."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(1, 2, bias=False), nn.Linear(1, 2, bias=False)
        self.head = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.one.weight.copy_(torch.tensor([[math.log(3)], [0.0]]))
            self.other.weight.copy_(torch.tensor([[0.0], [math.log(9)]]))
            self.head.weight.copy_(torch.tensor([[8.0, 10.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sigmoid(self.one(x) + self.other(x)))


def test_a_group_is_pruned_alone_with_its_columns() -> None:
    model, structure, data = Summed(), Group(), Calibration([], None, local_mean)
    units = structure.units(model, torch.ones(2, 1))
    store = make_mask_store(model, units)
    scores = Pruner(Magnitude(), structure, Uniform()).unit_scores(model, store, units, data)

    def evaluate() -> EvaluationResult:
        return EvaluationResult(0.0, 1.0, model(torch.ones(1, 1)).item())

    curves = measure_curves(
        model, scores, lambda kept: masks_of(units, kept, store.masks), [0.5], evaluate
    )

    # 0.75 x 8 + 0.9 x 10; without the first unit 9: its column of 8 would leave 0.5 x 8 more.
    assert [shown_name(name, units) for name in curves] == ["one.weight (and 1 more)"]
    found = [(point.kept, point.measured.loss) for point in curves["one.weight"]]
    assert found == [(2, pytest.approx(15.0)), (1, pytest.approx(9.0))]


def test_thresholds_of_groups_come_from_their_curves() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    structure = Group()
    units = structure.units(model, torch.ones(2, 1))
    scores = {name: torch.arange(1.0, 1 + each.count) for name, each in units.items()}
    found = layers_of(scores, model, units, NOTHING)
    # The loss of the first group rises twice as fast.
    curves = {"0.weight": ((1.0, 0.0), (0.5, 2.0)), "2.weight": ((1.0, 0.0), (0.5, 1.0))}
    for name, curve in curves.items():
        object.__setattr__(found[name], "curve", curve)
    # At a rise of 1 the first keeps 3 of 4, the second 4 of 8.
    rule = Sensitivity(grid=[1.0, 0.5], rule="equal_rise")
    assert rule.allocate(found, 7) == {"0.weight": 3, "2.weight": 4}


def test_the_command_names_the_groups_of_a_residual_network(tmp_path, monkeypatch) -> None:
    own = ("model._target_=stream_model.StreamModel", "~model.hidden", "~model.batch_norm")
    more = ("sensitivity.grid=[0.5]", "structure=group", f"output_dir={tmp_path}")
    assert run_main(monkeypatch, *TINY, *own, *more, command="sensitivity") == 0
    (file,) = tmp_path.rglob("sensitivity.jsonl")
    names = list(dict.fromkeys(line.layer for line in read(file)))
    assert names == ["stem.weight (and 1 more)", "inner.weight"]


def test_a_run_distributes_one_loss_budget_over_groups(tmp_path, monkeypatch) -> None:
    more = ("allocation=sensitivity", "allocation.grid=[1,0.5,0.1]", "allocation.min_units=1")
    units = ("structure=group", f"output_dir={tmp_path}")
    assert run_main(monkeypatch, *TINY, *more, *units, "schedule.final=0.5") == 0
    assert records_of(only_run(tmp_path))[-1].density == pytest.approx(0.5, abs=0.02)
