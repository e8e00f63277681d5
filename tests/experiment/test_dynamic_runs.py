"""RigL, SET and SNFS in whole runs: what an update changes, and what it leaves alone."""

import math
from functools import partial

import pytest
import torch
from conftest import cases
from torch.optim import SGD, Adam
from watched import (
    QUARTER,
    WEIGHTS,
    Step,
    before_steps,
    experiment,
    gradients,
    levels_of,
    optimized,
    run,
)

from harness.experiment.train_hooks import TrainHooks
from harness.vocabulary.tensors import Tensors, clone_tensors

KINDS = ["rigl", "set", "snfs"]
# Of 8 steps masks hold from step 6 on: updates are steps 2 and 4.
EVERY_2 = "mask_updates.update_interval=2"


def of(kind: str, *more: str) -> tuple[str, ...]:
    history = ("mask_updates.history=2",) if kind == "snfs" else ()
    return (f"mask_updates={kind}", EVERY_2, *history, *more)


def counts(masks: Tensors) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def changed(step: Step) -> bool:
    return any(not torch.equal(mask, step.before[name]) for name, mask in step.masks.items())


def grown(step: Step) -> Tensors:
    return {name: mask & ~step.before[name] for name, mask in step.masks.items()}


@cases("until", 0.75, 1.0)
@cases("allocation", "erk", "uniform")
@pytest.mark.parametrize("kind", KINDS)
def test_density_is_constant_and_masks_change_at_updates_alone(tmp_path, kind, allocation, until):
    overrides = of(kind, f"allocation={allocation}", f"mask_updates.stop_fraction={until}")
    steps = run(tmp_path, experiment(*overrides)).steps

    updates = [2, 4] if until == 0.75 else [2, 4, 6]
    assert [step.number for step in steps if changed(step)] == updates
    assert {step.live for step in steps} == {QUARTER}
    layers = {tuple(counts(step.masks).values()) for step in steps}
    # SNFS alone moves weights from layer to layer.
    assert (len(layers) > 1) == (kind == "snfs")
    assert all(torch.equal(m, steps[-1].before[n]) for n, m in steps[-1].masks.items())


@pytest.mark.parametrize("kind", KINDS)
def test_grown_weights_start_at_0_without_momentum_and_then_train(tmp_path, kind) -> None:
    optimizer = partial(SGD, lr=0.1, momentum=0.9)
    steps = run(tmp_path, optimized(experiment(*of(kind)), optimizer)).steps

    update, after = steps[2], steps[3]
    assert sum(counts(grown(update)).values()) > 50
    trained = 0
    for name, new in grown(update).items():
        (momentum,) = update.states[name]
        assert not update.weights[name][new].any() and not momentum[new].any()
        trained += int(after.weights[name][new].count_nonzero())
    assert trained > 25


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_takes_the_place_of_the_optimizers_step(tmp_path, kind) -> None:
    optimizer = partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    steps = run(tmp_path, optimized(experiment(*of(kind)), optimizer)).steps

    step, update = steps[1], steps[2]
    for name, weight in update.weights.items():
        whole = torch.ones_like(weight, dtype=torch.bool)
        stays = update.masks.get(name, whole) & update.before.get(name, whole)
        assert torch.equal(weight[stays], update.start[name][stays])
        assert torch.equal(update.states[name][0][stays], step.states[name][0][stays])
        assert not torch.equal(step.weights[name], step.start[name])


def test_adam_counts_no_step_for_an_update(tmp_path, monkeypatch) -> None:
    taken: list[set[float]] = []

    def look(inside: TrainHooks, number: int, optimizer: torch.optim.Optimizer) -> None:
        taken.append({float(state["step"]) for state in optimizer.state.values()})

    before_steps(monkeypatch, look)
    run(tmp_path, optimized(experiment(*of("rigl")), partial(Adam, lr=0.01)))
    assert taken == [set(), {1}, {2}, {2}, {3}, {3}, {4}, {5}]


def test_rigl_grows_where_the_dense_gradient_of_the_whole_batch_is_highest(tmp_path) -> None:
    found = run(tmp_path, experiment(*of("rigl", "dtype=float64", "retraining.accumulate=3")))

    update = found.steps[2]
    dense = gradients(found.levels, update.start, 1, 2)
    share = 0.3 / 2 * (1 + math.cos(math.pi * 2 / 6))  # 0.225
    for name, before in update.before.items():
        live = int(before.sum())
        sizes = update.start[name].abs().masked_fill(~before, -1).flatten()
        kept = sizes.topk(live - int(share * live)).indices
        highest = dense[name].abs().flatten().index_fill(0, kept, -1).topk(int(share * live))
        expected = sorted([*kept.tolist(), *highest.indices.tolist()])
        assert update.masks[name].flatten().nonzero().flatten().tolist() == expected


def test_the_mean_gradient_of_snfs_is_dense_and_begins_anew_after_an_update(tmp_path, monkeypatch):
    means: list[Tensors] = []
    before_steps(
        monkeypatch, lambda inside, number, _: means.append(clone_tensors(inside.statistics))
    )
    every_3 = (
        "mask_updates.update_interval=3",
        "mask_updates.history=2",
        "mask_updates.stop_fraction=1",
        "dtype=float64",
    )
    found = run(tmp_path, experiment("mask_updates=snfs", *every_3))

    # It looks at steps 2 and 3, then at 5 and 6.
    assert [number for number, mean in enumerate(means) if mean] == [3, 6]
    dense = gradients(found.levels, found.steps[2].start, 1, 2)
    for name, mean in means[3].items():
        torch.testing.assert_close(mean, 0.1 * dense[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_after_dense_training_two_levels_of_equal_density_go_on_from_each_other(tmp_path, kind):
    two = ("prune_at=after_training", "schedule=constant", "schedule.levels=2")
    found = run(tmp_path, experiment(*of(kind, *two)))

    assert [(r.level, r.stage) for r in found.records] == [
        (0, "dense"), (1, "pruned"), (1, "finetuned"), (2, "pruned"), (2, "finetuned"),
    ]  # fmt: skip
    first, second = found.of(1), found.of(2)
    assert {step.live for step in found.steps} == {QUARTER}
    # The second pruning finds nothing to remove.
    assert all(torch.equal(m, second[0].masks[n]) for n, m in first[-1].masks.items())
    # SET draws anew at each level.
    assert [s.number for s in second if changed(s)] == [2, 4]
    new, old = grown(second[2]), grown(first[2])
    assert any(not torch.equal(new[name], old[name]) for name in new)


def test_masks_only_grow_in_runs_whose_parts_say_so(tmp_path) -> None:
    for overrides, grows in (
        ((), False),
        (("prune_at=during_training", "schedule=cubic", "gradual.interval=2"), False),
        (of("rigl"), True),
        (("mask_updates=soft", "schedule=geometric", "rescore_trained=true"), True),
        (
            (
                "prune_at=during_training",
                "schedule=ac_dc",
                "gradual.interval=2",
                "gradual.last_step=4",
            ),
            True,
        ),
    ):
        store = levels_of(tmp_path, experiment(*overrides)).state.masks
        if grows:
            store.replace(dict(store.masks))
        else:
            with pytest.raises(ValueError, match="masks only shrink here"):
                store.replace(dict(store.masks))


# 8 steps of 128 examples; masked they cost 6 x 352 FLOPs an example, dense 6 x 1,408. At a step
# that looks, the gradients of the other 1,056 weights cost 2 FLOPs each.
@cases(
    "kind, more, looks",
    ("set", (), 0),
    ("rigl", (), 2),
    ("rigl", ("mask_updates.stop_fraction=1.0",), 3),
    ("snfs", ("mask_updates.update_interval=4",), 2),  # steps 3 and 4
    ("snfs", (), 4),  # steps 1 to 4
)
def test_the_cost_has_dense_gradients_at_the_steps_that_look_at_them(tmp_path, kind, more, looks):
    last = run(tmp_path, experiment(*of(kind, *more))).records[-1]

    assert last.training_flops == 128 * (8 * 6 * QUARTER + looks * 2 * (WEIGHTS - QUARTER))
    assert last.training_flops_dense == 128 * 8 * 6 * WEIGHTS
    assert (last.steps, last.examples, last.optimizer_state) == (8, 1024, "reset")
