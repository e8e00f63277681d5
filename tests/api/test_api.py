"""Tests harness.score and harness.prune as in a notebook: any module, no config."""

import copy
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from conftest import cases
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import harness
from harness.allocation.uniform import Uniform
from harness.saliency.weight_gradient import WeightGradient

DATA = [(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([0, 1]))]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def kept(masks: dict[str, Tensor]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_scores_are_those_of_the_saliency_on_the_mean_loss() -> None:
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -1.0], [0.5, 0.0]]))
    # The gradient of the sum of outputs is the sum of inputs, (4, 2), over 2 samples.
    found = harness.score(
        model, "weight_gradient", batches=DATA, loss=lambda outputs, labels: outputs.sum()
    )
    assert found["weight"].tolist() == [[4.0, 1.0], [1.0, 0.0]]


def test_the_default_loss_is_cross_entropy() -> None:
    one = harness.score(network(), "gradient", batches=DATA)
    other = harness.score(
        network(), "gradient", batches=DATA,
        loss=lambda outputs, labels: nn.functional.cross_entropy(outputs, labels, reduction="sum"),
    )  # fmt: skip
    assert all(torch.equal(one[name], other[name]) for name in one)


@cases("density", 0.0001, 0.3, 0.5, 1.0)
@cases("allocation", "global_ranking", "uniform", Uniform(min_units=1))
def test_exactly_the_density_is_kept_and_the_rest_is_zero(density, allocation) -> None:
    model = network()
    if isinstance(allocation, Uniform) and density < 0.05:
        with pytest.raises(ValueError, match="smallest reachable density"):
            harness.prune(model, density, allocation=allocation)
        return
    with warnings.catch_warnings(record=True, action="always") as told:
        masks = harness.prune(model, density, allocation=allocation)
    assert sum(kept(masks).values()) == round(density * 30)
    assert bool(told) == (0 in kept(masks).values())
    for name, mask in masks.items():
        assert torch.equal(model.get_parameter(name) != 0, mask)


def test_a_floor_that_is_reached_is_kept() -> None:
    masks = harness.prune(network(), 2 / 30, allocation=Uniform(min_units=1))
    assert kept(masks) == {"0.weight": 1, "3.weight": 1}


def test_exact_counts_one_total_or_one_per_tensor() -> None:
    assert sum(kept(harness.prune(network(), keep=7)).values()) == 7
    masks = harness.prune(network(), keep={"3.weight": 5})
    assert kept(masks) == {"0.weight": 12, "3.weight": 5}
    for nothing in (0, {"0.weight": 0, "3.weight": 0}):
        assert set(kept(harness.prune(network(), keep=nothing)).values()) == {0}


def test_rounds_end_at_the_same_exact_counts() -> None:
    for rounds in (1, 3, 50):
        assert sum(kept(harness.prune(network(), keep=7, rounds=rounds)).values()) == 7
        counts = {"0.weight": 2, "3.weight": 5}
        assert kept(harness.prune(network(), keep=counts, rounds=rounds)) == counts


def test_what_is_pruned_stays_pruned_when_masks_are_given() -> None:
    model = network()
    first = harness.prune(model, 0.5, saliency="random", seed=1)
    second = harness.prune(model, 0.3, saliency="random", seed=2, masks=first)
    assert sum(kept(second).values()) == 9
    assert all((first[name] | ~mask).all() for name, mask in second.items())


def test_units_take_bias_norm_and_columns_along() -> None:
    model = network()
    masks = harness.prune(model, keep=2, structure="neuron", example_input=torch.zeros(2, 2))
    assert kept(masks) == {"0.weight": 4, "0.bias": 2, "1.weight": 2, "1.bias": 2, "3.weight": 6}
    assert int(model[1].weight.count_nonzero()) == 2


def test_a_budget_of_multiply_accumulates() -> None:
    torch.manual_seed(0)
    # 4 weights at 9 positions, 2 weights at one.
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, 2))
    allocation = Uniform(budget="macs")
    masks = harness.prune(model, 0.5, allocation=allocation, example_input=torch.zeros(1, 1, 3, 3))
    assert 9 * kept(masks)["0.weight"] + kept(masks)["3.weight"] == 22  # of 36 + 8
    with pytest.raises(ValueError, match="give example_input or batches"):
        harness.prune(model, 0.5, allocation=allocation)


def test_scoring_leaves_the_model_alone_also_after_an_error() -> None:
    model = network().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[3].weight.grad = torch.ones(3, 6)
    before = copy.deepcopy(model)

    def failing(outputs: Tensor, labels: Tensor) -> Tensor:
        raise ZeroDivisionError

    saliency = WeightGradient(batch_norm="train")
    harness.score(model, saliency, batches=DATA)
    with pytest.raises(ZeroDivisionError):
        harness.score(model, saliency, batches=DATA, loss=failing)
    for name, value in before.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert [module.training for module in model.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert torch.equal(model[3].weight.grad, torch.ones(3, 6)) and model[0].bias.grad is None


def test_a_frozen_weight_is_scored_as_any_other() -> None:
    free, frozen = network(), network().requires_grad_(False)
    one, other = (harness.score(m, "weight_gradient", batches=DATA) for m in (free, frozen))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_error_in_a_later_round_leaves_the_model_as_it_was() -> None:
    class Failing(WeightGradient):
        asked = 0

        def score(
            self, weights: dict[str, Tensor], statistics: dict[str, Tensor]
        ) -> dict[str, Tensor]:
            Failing.asked += 1
            if Failing.asked == 3:
                raise ZeroDivisionError
            return super().score(weights, statistics)

    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ZeroDivisionError):
        harness.prune(model, 0.1, saliency=Failing(), rounds=5, batches=DATA)
    assert Failing.asked == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_masks_that_are_given_are_applied_before_scores_are_taken() -> None:
    masks = harness.prune(network(), 0.5, seed=1, saliency="random")
    fresh, applied = network(), network()
    harness.prune(applied, 1.0, masks=masks)
    one, other = (
        harness.prune(m, 0.2, saliency="fisher", batches=DATA, masks=masks)
        for m in (fresh, applied)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_excluded_layers_are_neither_scored_nor_pruned() -> None:
    assert list(harness.score(network(), exclude=["last"])) == ["0.weight"]
    masks = harness.prune(network(), keep=2, exclude=["3"])
    assert kept(masks) == {"0.weight": 2}


def test_inputs_take_the_dtype_of_the_model() -> None:
    found = harness.score(network().double(), "gradient", batches=DATA)
    assert found["0.weight"].dtype == torch.float64
    assert harness.score(network(), "fpgm", structure="neuron", example_input=torch.zeros(2, 2))


def test_a_layer_that_hides_its_weight_is_named() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(2, 2)), nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer 0 computes its weight from others"):
        harness.prune(model, 0.5)


def test_numpy_counts_are_counts() -> None:
    assert kept(harness.prune(network(), keep={"3.weight": np.int64(5)}))["3.weight"] == 5


def test_a_shared_weight_is_scored_and_counted_once() -> None:
    one, two = (nn.Linear(2, 2, bias=False) for _ in range(2))
    two.weight = one.weight
    model = nn.Sequential(OrderedDict(one=one, two=two))
    assert list(harness.score(model)) == ["one.weight"]
    masks = harness.prune(model, keep=3)
    assert kept(masks) == {"one.weight": 3}
    assert int(model.two.weight.count_nonzero()) == 3


def test_equal_zero_and_bfloat16_scores_are_cut_exactly() -> None:
    for value, dtype in ((1.0, torch.float32), (0.0, torch.float32), (0.3, torch.bfloat16)):
        model = nn.Linear(50, 7, bias=False).to(dtype)
        nn.init.constant_(model.weight, value)
        for keep in (0, 1, 33, 349, 350):
            model.load_state_dict({"weight": torch.full((7, 50), value, dtype=dtype)})
            assert kept(harness.prune(model, keep=keep)) == {"weight": keep}


@cases(
    "call, message",
    (lambda: harness.prune(nn.ReLU(), 0.5), "ReLU has no Conv or Linear layer to prune"),
    (lambda: harness.prune(network()), "one of density and keep, got density=None and keep"),
    (lambda: harness.prune(network(), 0.5, keep=3), "one of density and keep"),
    (lambda: harness.prune(network(), 1.5), r"density must be in \(0, 1\]"),
    (lambda: harness.prune(network(), keep=31), r"keep must be .* in \[0, 30\].*got 31"),
    (lambda: harness.prune(network(), keep=-1), "keep must be a whole number"),
    (lambda: harness.prune(network(), keep=2.0), "keep must be a whole number of units, got 2"),
    (lambda: harness.prune(network(), 0.5, rounds=-1), "rounds must be a whole number in "),
    (lambda: harness.prune(network(), 0.5, rounds=0), "rounds must be a whole number in "),
    (lambda: harness.prune(network(), 0.5, exclude=["4"]), "exclude names '4'.* there are: fi"),
    (lambda: harness.prune(network(), 0.5, allocation="sensitivity"), "only a run has"),
    (lambda: harness.score(network(), object()), "saliency: object has no granularity"),
    (lambda: harness.prune(network(), 0.5, allocation="lamp", saliency="grasp"), "signed"),
    (lambda: harness.score(weight_norm(nn.Linear(2, 2))), "computes its weight from others"),
    (lambda: harness.prune(network(), keep={"3": 1}), "keep names '3'; there are: 0.weight"),
    (
        lambda: harness.prune(network(), keep={"3.weight": 19}),
        r"must be a whole number in \[0, 18\]",
    ),
    (lambda: harness.score(network(), "snip"), "no saliency 'snip'; there are: .*synflow"),
    (lambda: harness.score(network(), "gradient"), "Gradient needs data: give batches"),
    (lambda: harness.prune(network(), 0.5, structure="neuron"), "give example_input"),
    (lambda: harness.score(nn.LazyLinear(3)), "weight has no values yet; run one batch"),
)
def test_wrong_calls_say_what_to_do(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


@cases("value", float("nan"), float("inf"))
def test_a_score_that_is_not_finite_names_the_tensor(value) -> None:
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0] = value
    with pytest.raises(ValueError, match=r"3\.weight"):
        harness.score(model)
    with pytest.raises(ValueError, match=r"3\.weight holds values that are not finite"):
        harness.score(model, "gradient", batches=DATA)
