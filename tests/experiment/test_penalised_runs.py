"""Penalties before each pruning, in whole runs: what they press down is what goes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from whole_runs import BATCH_NORM, TWO_LEVELS, Step, Whole, differing, under, whole_run

from harness.penalty.growing_l2 import GrowingL2
from harness.vocabulary.tensors import Tensors, clone_tensors

EXACT = "dtype=float64"


def gradients(whole: Whole, step: Step) -> Tensors:
    """Returns gradients of the mean loss at these weights, in training, without mask or penalty."""
    network = whole.levels.context.workload.initial_model()
    network.load_state_dict({**network.state_dict(), **step.weights})
    ((inputs, labels),) = step.batches
    cross_entropy(network.train()(inputs), labels).backward()
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


def check_gradients(
    step: Step, plain: Tensors, added: Callable[[str, torch.Tensor], torch.Tensor]
) -> None:
    for name, weight in step.weights.items():
        torch.testing.assert_close(
            step.gradients[name], plain[name] + added(name, weight), rtol=1e-10, atol=1e-14
        )


def test_a_penalty_trains_before_each_pruning_and_is_recorded(tmp_path) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, "penalty=l1", "penalty.epochs=2")
    assert whole.stages == [
        (0, "dense"),
        *((1, stage) for stage in ("penalised", "pruned", "finetuned")),
        *((2, stage) for stage in ("penalised", "pruned", "finetuned")),
    ]
    dense, first, second = (whole.record(*whole.stages[place]) for place in (0, 1, 4))
    assert (first.density, second.density) == (1.0, 0.5)
    assert second.masks == whole.record(1, "finetuned").masks != whole.record(2, "pruned").masks
    assert first.loss != dense.loss and first.gradient_norm
    assert [whole.of(s)[-1].at for s in ("1/penalty", "2/penalty")] == [(1, 2), (1, 2)]


def test_a_penalty_before_pruning_at_initialisation_is_the_only_training_before_it(tmp_path):
    whole = whole_run(tmp_path, "prune_at=init", "penalty=l1", "rescore_trained=true")
    assert [stage for _, stage in whole.stages] == ["initial", "penalised", "pruned", "finetuned"]
    assert list(whole.starts) == ["1/penalty", 1]


def test_l1_adds_the_signs_of_all_prunable_weights_at_every_step(tmp_path) -> None:
    whole = whole_run(tmp_path, EXACT, "penalty=l1", "penalty.strength=0.25")
    assert len(whole.of("1/penalty")) == 3
    for step in whole.of("1/penalty"):
        signs = {name: 0.25 * weight.sign() for name, weight in step.weights.items()}
        check_gradients(
            step, gradients(whole, step),
            lambda name, w, s=signs: s[name] if name.endswith("weight") else 0 * w,  # type: ignore
        )  # fmt: skip


def test_retraining_is_not_penalised(tmp_path) -> None:
    whole = whole_run(tmp_path, EXACT, "penalty=l1", "penalty.strength=0.25")
    masks = whole.masks[1, "pruned"]
    for step in whole.of(1):
        check_gradients(step, under(masks, gradients(whole, step)), lambda _, w: 0 * w)


@pytest.mark.parametrize("penalty", ["l1", "growing_l2"])
def test_pruned_weights_stay_exactly_0_while_the_next_level_is_penalised(tmp_path, penalty) -> None:
    whole = whole_run(
        tmp_path, *TWO_LEVELS, f"penalty={penalty}", "penalty.epochs=2", "training=sgd",
        "training@retraining=sgd", "retraining.optimizer.weight_decay=0.01",
    )  # fmt: skip
    masks = whole.masks[1, "pruned"]
    for step in whole.of("2/penalty")[1:]:
        assert differing(step.weights, under(masks, step.weights)) == []
        assert differing(step.gradients, under(masks, step.gradients)) == []
    network = whole.networks[2, "penalised"]
    assert differing(network, under(masks, network)) == []


@pytest.fixture(name="named")
def fixture_named(monkeypatch) -> list[Tensors]:
    """Returns a list that collects what growing_l2 is given to press down, level by level."""
    told: list[Tensors] = []
    adder = GrowingL2.make_gradient_hook

    def telling(self: GrowingL2, model: Any, units: Any, going: Tensors) -> Callable[[int], None]:
        told.append(clone_tensors(going))
        return adder(self, model, units, going)

    monkeypatch.setattr(GrowingL2, "make_gradient_hook", telling)
    return told


# So weak that training alone decides how large a weight becomes.
WEAK = ("penalty=growing_l2", "penalty.step_size=1e-9", "penalty.epochs=3")
CHOICES = {
    "magnitude": (),
    "random": ("saliency=random",),
    "gradient": ("saliency=weight_gradient",),
    "random control": ("control=random",),
    "shuffled control": ("control=shuffled",),
    "rounds": ("schedule.rounds=2",),
    "rows": ("structure=row", "schedule.final=0.5"),
    "neurons": ("structure=neuron", "saliency=random", "schedule.final=0.5"),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_growing_l2_presses_down_exactly_what_is_then_removed(tmp_path, named, choice) -> None:
    whole = whole_run(tmp_path, *TWO_LEVELS, *WEAK, *CHOICES[choice])
    assert len(named) == 2
    before = {name: torch.ones_like(mask) for name, mask in named[0].items()}
    for level, going in enumerate(named, start=1):
        assert differing(whole.masks[level, "penalised"], before) == []
        masks = whole.masks[level, "pruned"]
        gone = {name: before[name] & ~mask for name, mask in masks.items()}
        assert differing(going, gone) == []
        assert sum(int(mask.sum()) for mask in gone.values()) > 0
        before = masks


def test_growing_l2_names_what_goes_before_it_trains(tmp_path) -> None:
    """Checks that the smallest dense weights go, though after the training others are smaller."""
    whole = whole_run(tmp_path, *WEAK, "retraining.optimizer.lr=0.1")

    def largest(stage: tuple[int, str]) -> Tensors:
        sizes = {name: whole.networks[stage][name].abs() for name in whole.masks[1, "pruned"]}
        least = torch.cat([size.flatten() for size in sizes.values()]).topk(36).values.min()
        return {name: size >= least for name, size in sizes.items()}

    assert differing(whole.masks[1, "pruned"], largest((0, "dense"))) == []
    assert differing(whole.masks[1, "pruned"], largest((1, "penalised"))) != []


def test_growing_l2_adds_its_strength_times_what_goes_and_nothing_else(tmp_path) -> None:
    whole = whole_run(
        tmp_path, EXACT, "penalty=growing_l2", "penalty.epochs=2", "penalty.step_size=0.5",
        "penalty.interval=2", "penalty.max_strength=1.2",
    )  # fmt: skip
    masks = whole.masks[1, "pruned"]
    strengths = [0.5, 0.5, 1.0, 1.0, 1.2, 1.2]
    for step, strength in zip(whole.of("1/penalty"), strengths, strict=True):
        pressed = {n: strength * w * ~masks[n] for n, w in step.weights.items() if n in masks}
        check_gradients(
            step, gradients(whole, step),
            lambda name, w, p=pressed: p.get(name, 0 * w),  # type: ignore
        )  # fmt: skip


def test_growing_l2_presses_down_the_biases_and_norms_of_whole_neurons(tmp_path, named) -> None:
    whole_run(tmp_path, *WEAK, BATCH_NORM, "structure=neuron")
    (going,) = named
    rows = going["fc1.weight"].all(1)
    assert 0 < rows.sum() < 6
    for name in ("fc1.bias", "bn1.weight", "bn1.bias"):
        assert going[name].equal(rows)
    assert going["fc2.weight"].equal(rows.expand(going["fc2.weight"].shape))
    assert len(going) == 5  # the last layer's rows are never removed


SLIMMING = ("method=network_slimming", "penalty=bn_l1", BATCH_NORM)


def test_network_slimming_presses_down_the_scales_alone(tmp_path) -> None:
    whole = whole_run(tmp_path, *SLIMMING, EXACT, "penalty.strength=0.25")
    step = whole.of("1/penalty")[0]
    check_gradients(
        step, gradients(whole, step),
        lambda name, w: 0.25 * w.sign() if name == "bn1.weight" else 0 * w,
    )  # fmt: skip


def test_network_slimming_removes_the_units_of_the_smallest_scales(tmp_path) -> None:
    whole = whole_run(
        tmp_path, *SLIMMING, *TWO_LEVELS, "penalty.strength=0.5", "penalty.epochs=8",
        "schedule.final=0.5", "retraining.optimizer.lr=0.02",
    )  # fmt: skip
    shrunk, dense = whole.networks[1, "penalised"], whole.networks[0, "dense"]
    assert (shrunk["bn1.weight"].abs() < dense["bn1.weight"].abs()).all()
    for level in (1, 2):
        scales = whole.networks[level, "penalised"]["bn1.weight"].abs()
        alive = whole.masks[level, "pruned"]["fc1.weight"].any(1)
        assert 0 < alive.sum() < 6
        assert scales[alive].min() > scales[~alive].max()
        assert not whole.networks[level, "finetuned"]["bn1.weight"][~alive].any()
