"""Soft pruning and AC/DC in whole runs: in between all weights are let go, and may return."""

from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import SGD, Optimizer
from watched import QUARTER, STEPS, WEIGHTS, before_steps, experiment, levels_of, optimized, run

from harness.experiment import prune_stage, train_stage
from harness.experiment.context import RunContext
from harness.experiment.recorder import Recorder
from harness.experiment.state import RunState
from harness.experiment.train_hooks import TrainHooks
from harness.run_folder.records import Trained
from harness.vocabulary.tensors import Tensors, clone_tensors

MOMENTUM = partial(SGD, lr=0.1, momentum=0.9)
SOFT = ("mask_updates=soft", "schedule=geometric", "schedule.levels=2", "rescore_trained=true")
# Of 8 steps 2 and 3 are dense.
AC_DC = (*STEPS, "gradual.last_step=4", "schedule=ac_dc")

NEURONS = ("structure=neuron", "allocation=uniform", "schedule.final=0.4")


def chosen(patch: pytest.MonkeyPatch) -> list[Tensors]:
    """Returns a list that collects the masks after each pruning, before any mask is released."""
    found: list[Tensors] = []
    shrink = prune_stage.prune

    def shrinking(context: RunContext, state: RunState, *more: Any) -> None:
        shrink(context, state, *more)
        found.append(clone_tensors(state.masks.masks))

    patch.setattr(prune_stage, "prune", shrinking)
    return found


def test_soft_weights_are_free_between_levels_and_fixed_after_the_last(tmp_path) -> None:
    found = run(tmp_path, experiment(*SOFT))

    assert [step.live for step in found.of(1)] == [WEIGHTS] * 8
    assert [step.live for step in found.of(2)] == [QUARTER] * 8
    records = found.records
    assert [(r.level, r.stage, r.is_intermediate) for r in records] == [
        (0, "initial", False), (1, "pruned", True), (1, "finetuned", True),
        (2, "pruned", False), (2, "finetuned", False),
    ]  # fmt: skip
    # Half, then a quarter: measured right after removal, while the masks are in force.
    assert [records[n].density for n in (1, 3, 4)] == [0.5, 0.25, 0.25]
    assert records[2].density > 0.5
    # Level 1 trains, and costs, the dense network.
    assert [r.training_flops for r in records[2::2]] == [6 * 1024 * n for n in (WEIGHTS, QUARTER)]


def test_a_neuron_that_went_at_level_1_can_return_at_level_2(tmp_path, monkeypatch) -> None:
    masks = chosen(monkeypatch)
    fast = partial(SGD, lr=0.5, momentum=0.9, weight_decay=0.1)
    what = optimized(experiment(*SOFT, *NEURONS), fast)
    levels = run(tmp_path, what).levels

    one, two = masks
    biases = dict(levels.context.workload.initial_model().named_parameters())
    back = {n: two[n] & ~one[n] for n in one if n.endswith("bias")}
    assert sum(int(mask.sum()) for mask in back.values()) > 2
    # With its weights at 0 a neuron passes a gradient back only where its own bias is above 0.
    assert all((biases[name][mask] > 0).all() for name, mask in back.items())
    assert torch.equal(levels.state.masks.masks["fc1.weight"], two["fc1.weight"])


@pytest.mark.parametrize("batch_norm", ["false", "true"])
def test_soft_neurons_begin_again_at_0_with_the_biases_and_norms_that_they_had(
    tmp_path, monkeypatch, batch_norm
) -> None:
    masks, starts = chosen(monkeypatch), list[Tensors]()

    train = train_stage.train

    def training(recorder: Recorder, *given: Any, **more: Any) -> Trained:
        parameters = recorder.state.model.named_parameters()
        starts.append(clone_tensors({name: p.detach() for name, p in parameters}))
        return train(recorder, *given, **more)

    monkeypatch.setattr(train_stage, "train", training)
    norm = f"model.batch_norm={batch_norm}"
    levels = run(tmp_path, experiment(*SOFT, "structure=neuron", norm)).levels

    for name, initial in levels.context.workload.initial_model().named_parameters():
        mask = masks[0].get(name, torch.ones(()))
        # The columns that read a neuron return with it.
        rows = mask.any(1, keepdim=True) if mask.dim() > 1 else torch.ones(())
        expected = initial * rows
        assert torch.equal(starts[0][name], expected)
        # After the last level what goes along stays at 0.
        if name in masks[1]:
            assert not starts[1][name][~masks[1][name]].any()
    assert ("bn1.bias" in masks[0]) == (batch_norm == "true")


@pytest.mark.parametrize("schedule", ["cubic", "constant"])
def test_soft_pruning_inside_a_training_lets_go_after_each_event_but_the_last(
    tmp_path, monkeypatch, schedule
) -> None:
    gone: dict[int, tuple[int, float]] = {}

    def look(inside: TrainHooks, number: int, optimizer: Optimizer) -> None:
        at_0, momentum = 0, 0.0
        for name in inside.context.units:
            weight = inside.run.model.get_parameter(name)
            at_0 += int((weight == 0).sum())
            if number:
                buffer = optimizer.state[weight]["momentum_buffer"]
                momentum += float(buffer[weight == 0].abs().sum())
        gone[number] = at_0, momentum

    before_steps(monkeypatch, look)
    overrides = (*STEPS, "mask_updates=soft", f"schedule={schedule}")
    found = run(tmp_path, optimized(experiment(*overrides), MOMENTUM))

    assert [step.live for step in found.steps] == [WEIGHTS] * 6 + [QUARTER] * 2
    # At the event of step 0 the cubic curve keeps all, which is no pruning.
    kept = {"cubic": [665, 391, QUARTER], "constant": [QUARTER] * 4}[schedule]
    numbers = (0, 2, 4, 6)[-len(kept) :]
    pruned = [record for record in found.records if record.stage == "pruned"]
    assert [round(record.density * WEIGHTS) for record in pruned] == kept
    assert [record.is_intermediate for record in pruned] == [True] * (len(kept) - 1) + [False]
    # What returns begins at 0 and without momentum.
    assert [gone[number] for number in numbers] == [(WEIGHTS - keep, 0.0) for keep in kept]


def test_ac_dc_trains_all_weights_in_dense_phases_and_ends_compressed(tmp_path) -> None:
    found = run(tmp_path, optimized(experiment(*AC_DC), MOMENTUM))

    assert [s.live for s in found.steps] == [QUARTER] * 2 + [WEIGHTS] * 2 + [QUARTER] * 4
    compressed, dense = found.steps[1], found.steps[2]
    back = torch.cat([(~mask).flatten() for mask in compressed.masks.values()])
    trained = torch.cat([dense.weights[name].flatten() for name in dense.masks])[back]
    # All but those at a neuron that no sample of the batch wakes.
    assert len(trained) == WEIGHTS - QUARTER and trained.count_nonzero() > 0.4 * len(trained)
    assert found.records[-1].density == 0.25
    assert [(r.stage, r.density, r.is_intermediate, r.steps) for r in found.records[1:]] == [
        ("pruned", 0.25, True, 0), ("pruned", 0.25, False, 4), ("finetuned", 0.25, False, 4),
    ]  # fmt: skip
    # Two compressed and two dense steps of 128 examples, then four compressed ones.
    assert [r.training_flops for r in found.records[1:]] == [
        0, 6 * 256 * (QUARTER + WEIGHTS), 6 * 512 * QUARTER,
    ]  # fmt: skip


def test_ac_dcs_dense_phases_begin_without_momentum(tmp_path, monkeypatch) -> None:
    states: list[int] = []
    before_steps(monkeypatch, lambda inside, number, optimizer: states.append(len(optimizer.state)))
    run(tmp_path, optimized(experiment(*AC_DC), MOMENTUM))
    # Six parameters; a pruning keeps the momentum of what stays.
    assert states == [0, 6, 0, 6, 6, 6, 6, 6]


def test_neurons_return_in_a_dense_phase_with_their_biases(tmp_path, monkeypatch) -> None:
    """Checks that biases return too, else no neuron would.

    At weights and bias 0 a ReLU passes nothing back.
    """
    masks = chosen(monkeypatch)
    neurons = (*AC_DC, *NEURONS, "gradual.last_step=6", "gradual.interval=3")
    found = run(tmp_path, optimized(experiment(*neurons), MOMENTUM))

    gone = ~masks[0]["fc1.bias"]
    compressed, dense = found.steps[2], found.steps[3]
    biases = found.levels.context.workload.initial_model().get_parameter("fc1.bias").detach()
    assert torch.equal(dense.start["fc1.bias"][gone], biases[gone])
    assert torch.equal(dense.start["fc1.bias"][~gone], compressed.weights["fc1.bias"][~gone])
    assert not torch.equal(compressed.weights["fc1.bias"][~gone], biases[~gone])
    back = gone & (biases > 0)
    assert back.any() and found.steps[4].weights["fc1.weight"][back].any(1).all()


@pytest.mark.parametrize("prune_at", ["after_training", "init"])
def test_ac_dc_between_trainings_is_refused(tmp_path, prune_at) -> None:
    leave = ("rescore_trained=true",) if prune_at == "init" else ()
    with pytest.raises(
        ValueError, match="schedule=ac_dc alternates .*; use prune_at=during_training"
    ):
        levels_of(tmp_path, experiment(f"prune_at={prune_at}", "schedule=ac_dc", *leave))


def test_an_odd_number_of_phases_is_refused(tmp_path) -> None:
    what = experiment(*STEPS, "gradual.last_step=6", "schedule=ac_dc")
    with pytest.raises(
        ValueError, match="needs an even number of events.* names 3; change gradual"
    ):
        levels_of(tmp_path, what)
