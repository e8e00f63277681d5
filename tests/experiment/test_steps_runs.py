"""prune_at=during_training in whole runs: masks shrink inside one training, at given steps."""

from functools import partial

import pytest
import torch
from conftest import cases
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from watched import (
    QUARTER,
    STEPS,
    WEIGHTS,
    Run,
    before_steps,
    experiment,
    levels_of,
    optimized,
    run,
)

from harness.experiment import runner
from harness.experiment.train_hooks import TrainHooks
from harness.training.batches.batching import epoch_order
from harness.vocabulary.step_index import StepIndex
from harness.vocabulary.tensors import Tensors, clone_tensors

CUBIC = (*STEPS, "schedule=cubic")


def asked(begin: int, end: int | str, every: int) -> tuple[str, ...]:
    return (f"gradual.first_step={begin}", f"gradual.last_step={end}", f"gradual.interval={every}")


# Live weights after each of 8 steps; 1,408 (s + (1 - s)(1 - k/n)^3) at s = 1/4.
@cases(
    "schedule, when, live",
    # k/n = 1/2: 1,408 (1/4 + 3/32) = 484
    ("cubic", asked(2, 6, 2), [WEIGHTS] * 4 + [484] * 2 + [QUARTER] * 2),
    ("cubic", asked(0, 4, 2), [WEIGHTS] * 2 + [484] * 2 + [QUARTER] * 4),
    # 3/4 of 8 steps is 6; k/n = 1/3 and 2/3: 1,408 (1/4 + 2/9) and 1,408 (1/4 + 1/36)
    ("cubic", asked(0, "null", 2), [WEIGHTS] * 2 + [665] * 2 + [391] * 2 + [QUARTER] * 2),
    # The last event not beyond 6 is 5: 3/4, 1/2, 1/4 of the rest
    ("cubic", asked(1, "null", 4), [WEIGHTS] * 5 + [QUARTER] * 3),
    ("linear", asked(3, 7, 2), [WEIGHTS] * 5 + [880] * 2 + [QUARTER]),
    ("constant", asked(3, "null", 2), [WEIGHTS] * 3 + [QUARTER] * 5),
    ("constant", asked(0, "null", 2), [QUARTER] * 8),
    ("one_shot", asked(0, 0, 2), [QUARTER] * 8),
    ("one_shot", asked(7, 7, 1), [WEIGHTS] * 7 + [QUARTER]),
)
def test_events_come_before_the_steps_asked_for_with_zhu_and_guptas_density(
    tmp_path, schedule, when, live
) -> None:
    found = run(tmp_path, experiment("prune_at=during_training", f"schedule={schedule}", *when))

    assert [step.live for step in found.steps] == live
    # Before the forward pass of the step, not after it.
    assert all(step.before.keys() == step.masks.keys() for step in found.steps)
    assert [sum(map(int, map(Tensor.sum, step.before.values()))) for step in found.steps] == live
    assert found.levels.state.masks.masks["fc1.weight"].sum() < 256


def global_magnitude(weights: Tensors, keep: int) -> Tensors:
    every = torch.cat([weight.abs().flatten() for weight in weights.values()])
    least = every.topk(keep).values[-1]
    return {name: weight.abs() >= least for name, weight in weights.items()}


def by_hand(
    levels: runner.Prepared, prunings: dict[int, int]
) -> tuple[nn.Module, dict[int, float]]:
    """Trains two epochs of plain SGD in plain torch; `prunings`: weights kept from a step on.

    Returns the model and its test loss right after each pruning.
    """
    network, splits = levels.context.workload.initial_model(), levels.context.workload.splits
    weights = {n: p for n, p in network.named_parameters() if n.endswith("weight")}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    losses, number = {}, 0
    for epoch in (0, 1):
        for batch in epoch_order(500, 0, 1, epoch).split(128):
            with torch.no_grad():
                if number in prunings:
                    masks = global_magnitude(weights, prunings[number])
                    for name, weight in weights.items():
                        weight *= masks[name]
                    test = cross_entropy(network(splits.test.inputs), splits.test.labels)
                    losses[number] = float(test)
            network.zero_grad()
            cross_entropy(
                network(splits.train.inputs[batch]), splits.train.labels[batch]
            ).backward()
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    assert parameter.grad is not None
                    parameter -= 0.1 * parameter.grad * masks.get(name, 1)
            number += 1
    return network, losses


def test_a_run_is_the_same_prunings_in_a_training_by_hand(tmp_path) -> None:
    exact = ("dtype=float64", "data.train=500", *asked(2, 6, 2))
    what = optimized(experiment(*CUBIC, *exact), partial(SGD, lr=0.1))
    found = run(tmp_path, what)

    network, losses = by_hand(found.levels, {4: 484, 6: QUARTER})
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(
            found.steps[-1].weights[name], parameter.detach(), rtol=1e-9, atol=1e-12
        )
    pruned = [record for record in found.records if record.stage == "pruned"]
    assert [record.loss for record in pruned] == pytest.approx([losses[4], losses[6]], rel=1e-9)


def test_records_have_an_event_each_and_add_up_to_the_whole_training(tmp_path) -> None:
    # Batches of 128, 128, 128 and 116.
    records = run(tmp_path, experiment(*CUBIC, "data.train=500", *asked(2, 6, 2))).records

    assert [(r.level, r.stage, r.is_intermediate) for r in records] == [
        (0, "initial", False), (1, "pruned", True), (2, "pruned", False), (2, "finetuned", False),
    ]  # fmt: skip
    assert [r.density for r in records] == [1, 484 / 1408, 0.25, 0.25]
    assert [r.requested_density for r in records] == [1, 0.34375, 0.25, 0.25]
    assert [r.optimizer_state for r in records] == ["", "reset", "kept", "kept"]
    assert [(r.epochs, r.steps, r.examples) for r in records] == [
        (0, 0, 0), (1, 4, 500), (0.5, 2, 256), (0.5, 2, 244),
    ]  # fmt: skip
    flops = [0, 500 * WEIGHTS, 256 * 484, 244 * QUARTER]
    assert [r.training_flops for r in records] == [6 * count for count in flops]
    assert sum(r.training_flops_dense or 0 for r in records) == 6 * 1000 * WEIGHTS


@cases("schedule", "constant", "ac_dc")
def test_an_event_before_the_first_step_has_no_training_and_the_optimizer_is_new_after_it(
    tmp_path, schedule
) -> None:
    records = run(tmp_path, experiment(*STEPS, f"schedule={schedule}", *asked(0, 4, 2))).records

    first, *others = records[1:]
    assert (first.stage, first.steps, first.epochs, first.optimizer_state) == ("pruned", 0, 0, "")
    states = [record.optimizer_state for record in others]
    assert states == ["reset", "kept"][: len(states)]
    assert sum(record.steps for record in records) == 8


@cases(
    "finetune, begins_at, steps",
    (("finetune=keep",), StepIndex(2), 8),
    (("finetune=weight_rewind", "finetune.epoch=1"), StepIndex(1), 4),
    (("finetune=weight_rewind", "finetune.step=2"), StepIndex(0, 2), 6),
    (("finetune=lr_rewind", "finetune.epochs=1"), StepIndex(2), 4),
)
def test_the_one_training_may_follow_a_dense_one_in_any_mode(
    tmp_path, monkeypatch, finetune, begins_at, steps
) -> None:
    begun: list[Tensors] = []

    def look(inside: TrainHooks, number: int, optimizer: torch.optim.Optimizer) -> None:
        if number == 0:
            begun.append(clone_tensors(inside.run.model.state_dict()))

    before_steps(monkeypatch, look)
    found: Run = run(
        tmp_path,
        experiment(
            *CUBIC,
            "gradual.start_from=trained",
            "gradual.interval=1",
            "gradual.last_step=2",
            *finetune,
        ),
    )

    levels = found.levels
    start = (
        levels.context.workload.random_state(1)
        if begins_at is None
        else levels.context.dense.at(begins_at)
    )
    assert all(torch.equal(value, begun[0][name]) for name, value in start.items())
    # 484 weights at half of the way
    assert [s.live for s in found.steps] == [WEIGHTS, 484] + [QUARTER] * (steps - 2)
    assert [r.stage for r in found.records] == ["dense", "pruned", "pruned", "finetuned"]
    assert [r.steps for r in found.records] == [8, 1, 1, steps - 2]
    assert len(begun) == 1


def test_whole_neurons_go_with_their_biases(tmp_path) -> None:
    found = run(tmp_path, experiment(*CUBIC, "structure=neuron", *asked(0, 4, 2)))

    last = found.steps[-1]
    for layer in ("fc1", "fc2"):
        gone = ~last.masks[f"{layer}.bias"]
        assert torch.equal(~last.masks[f"{layer}.weight"].any(1), gone)
        assert not last.weights[f"{layer}.weight"][gone].any()
        assert not last.weights[f"{layer}.bias"][gone].any()
    neurons = [sum(int(s.masks[f"fc{n}.bias"].sum()) for n in (1, 2)) for s in found.steps]
    assert neurons[0] == neurons[1] == 64 > neurons[2] > neurons[4] == neurons[7] > 0


DROPPING = ("model._target_=parts.Dropping", "model.hidden=[16]")


@cases("saliency", "weight_gradient", "random", "hutchinson")
def test_an_event_that_removes_nothing_disturbs_no_step_after_it(tmp_path, saliency) -> None:
    """Compares dropout, batch statistics and all weights with a training without events."""
    nothing = (
        *STEPS, *asked(1, 5, 1), "schedule=one_shot", "schedule.final=1.0",
        f"saliency={saliency}",
    )  # fmt: skip
    what = experiment(*nothing, *DROPPING)
    states = []
    for events in (True, False):
        levels = levels_of(tmp_path, what)
        assert [turn.step for turn in levels.context.requested.prune_events] == [5]
        if not events:
            levels.context.requested.prune_events.clear()
        found = run(tmp_path, what, levels)
        assert len(found.records) == 2 + events
        states.append(levels.state.model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
