"""Tests learning curves: the loss and the validation accuracy of every epoch of a training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from cached_training import dense
from command import TINY, only_run, records_of, run_main
from silent import ME
from small_training import blobs, context, points, trainer
from torch import Tensor, nn
from torch.optim import SGD
from whole_runs import PER_EPOCH, SMALL, whole_run

from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.console import Progress
from harness.run_folder.followers import Sinks
from harness.run_folder.records import Record
from harness.task.classification import Classification
from harness.task.shared.measures import TOP1, Measure
from harness.training.context import FitResult, Hooks, TrainingContext, TrainingCurve
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import clone_tensors

STILL = partial(SGD, lr=0.0)


@dataclass(frozen=True)
class InputAsLoss(Classification):
    """A sample's loss is its output; the network below passes its input on."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return outputs.sum()


def passing() -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def lengths(records: list[Record]) -> list[tuple[int, str, int, int]]:
    return [
        (r.level, r.stage, len(r.epoch_losses or []), len(r.epoch_validation or []))
        for r in records
    ]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_is_a_mean_over_samples_not_over_batches(accumulate) -> None:
    # The last batch is one sample: a mean over batches would not be 8.
    split = points([3.0], [6.0], [15.0])
    recipe = trainer(optimizer=STILL, batch_size=2, epochs=2, accumulate=accumulate)

    fit = recipe.fit(passing(), context(split, InputAsLoss()), Hooks())

    assert fit.curve == TrainingCurve([8.0, 8.0], [])


def test_a_training_that_begins_inside_an_epoch_has_the_loss_of_what_is_left_of_it() -> None:
    split, seen = points([1.0], [2.0], [4.0], [8.0], [16.0]), list[float]()

    @dataclass(frozen=True)
    class Probe(InputAsLoss):
        def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
            seen.extend(outputs.flatten().tolist())
            return super().loss(outputs, labels)

    recipe = trainer(optimizer=STILL, batch_size=2, epochs=2)
    fit = recipe.fit(passing(), context(split, Probe()), Hooks(), begin=StepIndex(0, 1))

    assert fit.curve.losses == [sum(seen[:3]) / 3, 31 / 5]


def test_the_loss_is_the_one_that_was_minimised() -> None:
    hooks = Hooks(loss_term=lambda inputs, outputs, labels, loss: 10 * loss)
    split = points([1.0], [2.0])

    fit = trainer(optimizer=STILL).fit(passing(), context(split, InputAsLoss()), hooks)

    assert fit.curve.losses == [15.0]


def test_validation_follows_every_epoch() -> None:
    # Labels are all 0: the outputs (x, 0) are right where x is larger than 0.
    model = nn.Linear(1, 2, bias=False)
    nn.init.constant_(model.weight, 0.0)
    model.weight.data[0] = 1.0
    there = replace(
        context(points([1.0]), Classification()), validation=points([1.0], [2.0], [3.0], [-1.0])
    )
    seen: list[tuple[int, TrainingCurve]] = []
    hooks = Hooks(epoch_end=lambda done, curve: seen.append((done, curve)))

    fit = trainer(optimizer=STILL, epochs=2).fit(model, there, hooks)

    assert fit.curve.validation == [0.75, 0.75]
    assert [(done, curve.validation) for done, curve in seen] == [(1, [0.75]), (2, [0.75, 0.75])]


class Drawing(nn.Module):
    """Draws numbers in eval mode too, and has all that measuring could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.head = nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        noise = torch.randn(1)
        return self.head(self.body(inputs)) + 0 * noise


def test_measuring_changes_nothing_that_is_learned() -> None:
    def trained(measures: bool) -> tuple[dict[str, Tensor], Tensor, list[bool]]:
        torch.manual_seed(0)
        model = Drawing()
        model.head.eval()  # frozen there by its maker; the loop wakes it up
        validation = blobs(9) if measures else None
        there = TrainingContext(blobs(32), Classification(), Ranks(), 0, 0, validation=validation)
        trainer(optimizer=partial(SGD, lr=0.1), batch_size=8, epochs=3).fit(model, there, Hooks())
        return (
            clone_tensors(model.state_dict()),
            torch.get_rng_state(),
            [m.training for m in model.modules()],
        )

    with_it, without = trained(True), trained(False)

    assert all(with_it[0][name].equal(value) for name, value in without[0].items())
    assert with_it[1].equal(without[1])
    assert with_it[2] == without[2]


def test_a_dense_trainings_curve_is_loaded_with_it_and_ends_where_it_does(tmp_path) -> None:
    there = replace(dense(tmp_path).context, validation=blobs(9))
    whole = dense(tmp_path, 2, context=there).load_or_train(StepIndex(4))[1]
    assert (len(whole.losses), len(whole.validation)) == (4, 4)

    again = dense(tmp_path, context=there)
    assert again.load_or_train(StepIndex(4), lambda done, curve: pytest.fail("trained"))[1] == whole
    part = again.load_or_train(StepIndex(2), lambda done, curve: pytest.fail("trained"))[1]
    assert part == TrainingCurve(whole.losses[:2], whole.validation[:2])
    assert again.load_or_train(StepIndex(0))[1] == TrainingCurve()


def test_a_stored_state_whose_curve_is_damaged_is_trained_again(tmp_path) -> None:
    whole = dense(tmp_path).load_or_train(StepIndex(4))[1]
    (file,) = (tmp_path / "ab" / "cache").iterdir()
    digit = str(whole.losses[0])[2].encode()
    other = b"1" if digit != b"1" else b"2"
    at = file.read_bytes().index(str(whole.losses[0]).encode()) + 2
    content = file.read_bytes()
    file.write_bytes(content[:at] + other + content[at + 1 :])

    again: list[int] = []
    found = dense(tmp_path).load_or_train(StepIndex(4), lambda done, curve: again.append(done))[1]
    assert (found, again) == (whole, [1, 2, 3, 4])


def test_curves_belong_to_the_records_that_end_a_training(tmp_path) -> None:
    whole = whole_run(tmp_path, "penalty=l1", "penalty.epochs=3", "retraining.epochs=2")
    assert lengths(whole.records) == [
        (0, "dense", 2, 2), (1, "penalised", 3, 3), (1, "pruned", 0, 0), (1, "finetuned", 2, 2),
    ]  # fmt: skip
    for record in whole.records:
        if record.epoch_validation:
            assert record.epoch_validation[-1] == record.validation_top1


def test_a_training_with_prunings_inside_has_its_whole_curve_at_the_end(tmp_path) -> None:
    more = (
        "prune_at=during_training",
        "gradual.interval=1",
        "retraining.epochs=4",
        "schedule.levels=3",
    )
    whole = whole_run(tmp_path, *more, "schedule=geometric")
    assert sum(record.steps for record in whole.records) == 4 * PER_EPOCH
    assert [stage for _, stage in whole.stages][-2:] == ["pruned", "finetuned"]
    assert [len(record.epoch_losses or []) for record in whole.records][-2:] == [0, 4]
    assert not any(record.epoch_validation for record in whole.records[:-1])
    losses = [sum(step.losses) for step in whole.of(1)]
    for epoch, loss in enumerate(whole.records[-1].epoch_losses or []):
        assert loss == pytest.approx(sum(losses[3 * epoch : 3 * epoch + 3]) / 40)


def test_a_second_runs_dense_record_has_the_curve_of_the_first_ones_training(tmp_path, monkeypatch):
    for name, method in (("a", "random"), ("b", "global_magnitude")):
        more = (
            f"method={method}",
            f"sweep_name={name}",
            f"output_dir={tmp_path}",
            "dense_checkpoints=[1]",
        )
        assert run_main(monkeypatch, *TINY, *more) == 0
    one, other = (records_of(only_run(tmp_path, name))[0] for name in ("a", "b"))
    assert one.epoch_losses == other.epoch_losses and len(one.epoch_losses or []) == 2
    who = ("run", "method", "label", "setting")
    assert {key for key, value in asdict(one).items() if value != asdict(other)[key]} <= {*who}


def test_no_training_has_an_empty_curve() -> None:
    fit = trainer(epochs=0).fit(passing(), context(points([1.0])), Hooks())
    assert fit == FitResult(None, TrainingCurve([], []))


class Epochs:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, float, float]] = []
        self.records: list[Record] = []

    def log(self, record: Record) -> None:
        self.records.append(record)

    def epoch(
        self, level: int, epoch: int, loss: float, value: float, measure: Measure = TOP1
    ) -> None:
        self.told.append((level, epoch, loss, value))

    def latency(self, event: Mapping[str, Any]) -> None: ...


def test_sinks_are_told_each_epoch_as_it_ends(tmp_path) -> None:
    sink = Epochs()
    levels = runner.prepare(
        build(compose_config([*SMALL, "retraining.epochs=3"])), Ranks(), tmp_path
    )
    runner.run(Recorder(*levels, ME, Sinks(Progress("none"), sinks=[sink])))
    told = [
        (record.level, epoch, loss, top1)
        for record in sink.records
        for epoch, (loss, top1) in enumerate(
            zip(record.epoch_losses or [], record.epoch_validation or [], strict=True), start=1
        )
    ]
    assert sink.told == told and len(told) == 2 + 3
