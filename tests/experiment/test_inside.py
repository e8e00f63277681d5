"""Inside a training: pruned weights are 0 after every step, and nothing sees their gradients."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from conftest import cases
from torch.optim import SGD, Adam, AdamW, Optimizer
from watched import QUARTER, STEPS, WEIGHTS, Run, Step, experiment, gradients, optimized, run

from harness.vocabulary.tensors import Tensors

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "momentum": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": partial(Adam, lr=0.01, weight_decay=0.1),
    "adamw": partial(AdamW, lr=0.01, weight_decay=0.1),
}
EVERY_2 = "mask_updates.update_interval=2"  # of 8 steps masks hold from step 6 on
MODES = {
    "retraining": ("schedule=one_shot",),
    "cubic": (*STEPS, "schedule=cubic"),
    "rigl": ("mask_updates=rigl", EVERY_2),
    "set": ("mask_updates=set", EVERY_2),
    "snfs": ("mask_updates=snfs", EVERY_2, "mask_updates.history=1"),
    "ac_dc": (*STEPS, "gradual.last_step=4", "schedule=ac_dc"),
    "soft": (
        "mask_updates=soft",
        "schedule=geometric",
        "schedule.levels=2",
        "rescore_trained=true",
    ),
}
# Live weights after each step. Cubic: s + (1 - s)(1 - k/3)^3 of 1,408 weights at s = 1/4, with
# events before steps 0, 2, 4 and 6: all, 664.9, 391.1 and 352.
LIVE = {
    "cubic": [WEIGHTS] * 2 + [665] * 2 + [391] * 2 + [QUARTER] * 2,
    "ac_dc": [QUARTER] * 2 + [WEIGHTS] * 2 + [QUARTER] * 4,
    "soft": [WEIGHTS] * 8 + [QUARTER] * 8,
}


def pruned_and_0(step: Step) -> bool:
    """True if parameters and all states are 0 wherever a mask prunes."""
    return all(
        not value[~mask].count_nonzero()
        for name, mask in step.masks.items()
        for value in (step.weights[name], *step.states[name])
    )


@pytest.mark.parametrize(
    ("mode", "fused"), [(mode, True) for mode in MODES] + [("rigl", False), ("ac_dc", False)]
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_pruned_is_0_after_every_step_with_its_optimizer_state(
    tmp_path, optimizer, mode, fused
) -> None:
    chosen = partial(OPTIMIZERS[optimizer], fused=fused)
    found = run(tmp_path, optimized(experiment(*MODES[mode]), chosen))

    assert [step.live for step in found.steps] == LIVE.get(mode, [QUARTER] * 8)
    assert all(pruned_and_0(step) for step in found.steps)
    for step in found.steps:
        assert all(state.any() for states in step.states.values() for state in states)


def moved(step: Step) -> float:
    """Returns the length of the step that was taken, over all parameters."""
    ways = [(step.weights[name] - start).flatten() for name, start in step.start.items()]
    return float(torch.cat(ways).norm())


@cases(
    "mode",
    MODES["retraining"], MODES["cubic"], MODES["ac_dc"], MODES["rigl"],
    (
        "mask_updates=snfs", "mask_updates.update_interval=3", "mask_updates.history=3",
        "mask_updates.stop_fraction=1.0",
    ),
)  # fmt: skip
def test_clipping_sees_the_gradients_of_live_weights_alone(tmp_path, mode) -> None:
    """Checks that a clipped step of plain SGD has the length clip_norm.

    With gradients of pruned weights the step would be shorter, by what it never takes.
    """
    what = optimized(experiment("dtype=float64", *mode), partial(SGD, lr=1.0), clip_norm=1e-3)
    found = run(tmp_path, what)

    mask_updates = what.mask_updates
    taken = [s for s in found.steps if not (mask_updates and mask_updates.updates(s.number, 8))]
    assert len(taken) == (6 if mask_updates else 8)
    assert [moved(step) for step in taken] == pytest.approx([1e-3] * len(taken), rel=1e-3)


def norm(found: Tensors, masks: Tensors) -> float:
    live = [g * masks[name] if name in masks else g for name, g in found.items()]
    return float(torch.cat([g.flatten() for g in live]).norm())


@cases("mask_updates", "rigl", "snfs")
def test_the_norm_of_an_update_is_that_of_the_weights_which_are_live_after_it(
    tmp_path, mask_updates
):
    found = run(tmp_path, experiment(*ends_in_an_update(mask_updates)))

    last = found.steps[3]
    dense = gradients(found.levels, last.start, 1, 3)
    assert found.records[-1].gradient_norm == pytest.approx(norm(dense, last.masks), rel=1e-9)
    assert norm(dense, last.masks) != pytest.approx(norm(dense, last.before), rel=1e-4)
    assert norm(dense, last.masks) < 0.99 * norm(dense, {})


def ends_in_an_update(mask_updates: str) -> tuple[str, ...]:
    one = ("retraining.epochs=1", "dtype=float64")
    return (
        *one, f"mask_updates={mask_updates}", "mask_updates.update_interval=3",
        "mask_updates.stop_fraction=1", "mask_updates.drop_fraction=.9",
    )  # fmt: skip


@cases("end", 2, 3)
def test_the_norm_of_a_training_in_which_masks_shrink_is_of_its_last_masks(tmp_path, end) -> None:
    overrides = (*STEPS, "schedule=cubic", "gradual.interval=1", f"gradual.last_step={end}")
    found: Run = run(tmp_path, experiment("retraining.epochs=1", "dtype=float64", *overrides))

    last = found.steps[3]
    dense = gradients(found.levels, last.start, 1, 3)
    assert found.records[-1].gradient_norm == pytest.approx(norm(dense, last.masks), rel=1e-9)
    # No epoch ended before a pruning.
    assert {record.gradient_norm for record in found.records[:-1]} == {None}
