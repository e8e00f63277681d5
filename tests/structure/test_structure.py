"""Units: what is pooled, what is removed with them, and which layers have none."""

import pytest
import torch
from conftest import cases, component
from left_alone import check_same, snapshot
from removed_units import masked, reach_outputs
from torch import Tensor, nn

from harness.models.lenet_5 import LeNet5
from harness.models.mlp import Mlp
from harness.structure.element import Element
from harness.structure.filter import Filter
from harness.structure.neuron import Neuron

SCORES = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
IMAGES = torch.zeros(2, 3, 8, 8)


class Residual(nn.Module):
    """Adds one block, conv-bn-relu-conv, to its input, then applies a norm that both feed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 5, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 4, 3, padding=1)
        self.after_add = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        stem = self.stem(inputs)
        added = stem + self.conv2(self.bn1(self.conv1(stem)).relu())
        return self.fc(self.after_add(added).mean((2, 3)))


class AddedOutputs(nn.Module):
    """Two layers whose units are added into the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 5)
        self.main = nn.Linear(5, 2)
        self.skip = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.main(self.hidden(inputs).relu()) + self.skip(inputs)


def conv_net(*between: nn.Module) -> nn.Sequential:
    """Returns a convolution of 4 filters, the layers that are given, and a classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), *between, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def hidden(outputs: int, inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, 2))


@cases("pool_by, pooled", ("mean", [3.5, 1.0]), ("sum", [7.0, 2.0]), ("l2", [5.0, 2.0]))
def test_pooling_by_hand(pool_by, pooled) -> None:
    units = Neuron(pool_by).units(hidden(2, 2), torch.zeros(2, 2))["0.weight"]
    assert units.pool({"0.weight": SCORES}).tolist() == pooled


def test_a_filter_is_pooled_over_all_its_other_dimensions() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Conv2d(2, 1, 1))
    scores = {"0.weight": torch.arange(8.0).view(2, 1, 2, 2)}
    for pool_by, pooled in (("sum", [6.0, 22.0]), ("mean", [1.5, 5.5])):
        units = Filter(pool_by).units(model, torch.zeros(2, 1, 4, 4))["0.weight"]
        assert units.pool(scores).tolist() == pooled


def test_a_unit_of_several_layers_is_pooled_over_the_rows_of_all() -> None:
    units = Filter("sum").units(Residual(), IMAGES)["stem.weight"]
    assert units.weights == ("stem.weight", "conv2.weight")
    scores = {"stem.weight": torch.ones(4, 3, 3, 3), "conv2.weight": torch.ones(4, 5, 3, 3)}
    assert units.pool(scores).tolist() == [27.0 + 45.0] * 4


def test_masks_of_units_cover_rows_biases_and_the_columns_that_read_them() -> None:
    units = Neuron().units(hidden(2, 3), torch.zeros(2, 3))["0.weight"]
    masks = units.masks(torch.tensor([True, False]))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "0.weight": [[True] * 3, [False] * 3],
        "0.bias": [True, False],
        "2.weight": [[True, False]] * 2,
    }
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Conv2d(2, 1, 2))
    units = Filter().units(model, torch.zeros(2, 1, 4, 4))["0.weight"]
    masks = units.masks(torch.tensor([True, False]))
    assert masks["0.weight"].flatten(1).tolist() == [[True] * 4, [False] * 4]
    assert masks["1.weight"].flatten(2).tolist() == [[[True] * 4, [False] * 4]]


def test_an_element_is_its_own_unit() -> None:
    assert torch.equal(Element().pool(SCORES), SCORES)
    mask = SCORES > 1
    assert torch.equal(Element().expand(mask, (2, 2)), mask)


def test_an_unknown_pooling_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pool_by must be one of mean, sum, l2, max, got 'median'"):
        Filter("median")


def test_single_weights_of_every_layer_go_and_nothing_goes_with_them() -> None:
    model = Mlp(hidden=[5]).build((3,), 2)
    assert masked(Element().units(model, torch.zeros(2, 3))) == {
        "fc1.weight": {"fc1.weight"},
        "fc2.weight": {"fc2.weight"},
    }


def test_a_neuron_has_a_bias_and_columns_and_outputs_are_never_removed() -> None:
    model = Mlp(hidden=[5, 4]).build((3,), 2)
    assert masked(Neuron().units(model, torch.zeros(2, 3))) == {
        "fc1.weight": {"fc1.weight", "fc1.bias", "fc2.weight"},
        "fc2.weight": {"fc2.weight", "fc2.bias", "fc3.weight"},
    }


def test_a_layer_without_bias_has_none_to_lose() -> None:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    units = Neuron().units(model, torch.zeros(2, 3))
    assert masked(units) == {"0.weight": {"0.weight", "2.weight"}}


@cases("last", nn.LogSoftmax(1), nn.Softmax(1), nn.BatchNorm1d(2), nn.Sequential(nn.Dropout(0.5)))
def test_outputs_are_known_behind_what_follows_them(last) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), last)
    assert list(Neuron().units(model, torch.zeros(2, 3))) == ["0.weight"]


def test_layers_that_are_added_into_the_outputs_are_outputs() -> None:
    assert list(Neuron().units(AddedOutputs(), torch.zeros(2, 3))) == ["hidden.weight"]


def test_a_convolution_that_makes_the_outputs_is_never_removed() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert list(Filter().units(model, IMAGES)) == ["0.weight"]


@cases(
    "between, norm",
    ([nn.BatchNorm2d(4)], {"1.weight", "1.bias"}),
    ([nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4)], {"3.weight", "3.bias"}),
    ([nn.BatchNorm2d(4, affine=False)], set()),
    ([nn.GroupNorm(2, 4)], {"1.weight", "1.bias"}),
    ([nn.GroupNorm(2, 4, affine=False), nn.Sigmoid()], set()),
    ([nn.Softplus(), nn.InstanceNorm2d(4, affine=True)], {"2.weight", "2.bias"}),
)
def test_a_removed_filter_is_gone_with_its_norm(between, norm) -> None:
    model = conv_net(*between)
    units = Filter().units(model, IMAGES)
    classifier = f"{len(model) - 1}.weight"
    assert masked(units) == {"0.weight": {"0.weight", "0.bias", classifier} | norm}
    assert not reach_outputs(model, units, IMAGES)


def test_a_group_of_a_norm_is_one_unit() -> None:
    assert Filter().units(conv_net(nn.GroupNorm(2, 4)), IMAGES)["0.weight"].group.units == 2


def test_neurons_whose_number_changes_a_layer_norm_stay_whole() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="of 0: 1 takes statistics over the units"):
        Neuron().units(model, torch.zeros(2, 3))


def test_neurons_lose_their_norm_too() -> None:
    model = Mlp(hidden=[5], batch_norm=True).build((3,), 2)
    units = Neuron().units(model, torch.zeros(2, 3))
    own = {"fc1.weight", "fc1.bias", "bn1.weight", "bn1.bias", "fc2.weight"}
    assert masked(units) == {"fc1.weight": own}
    assert not reach_outputs(model, units, torch.randn(2, 3))


def test_layers_whose_outputs_are_added_lose_the_same_filters() -> None:
    model, images = Residual(), torch.randn(2, 3, 8, 8)
    units = Filter().units(model, images)
    assert masked(units) == {
        "stem.weight": {
            *("stem.weight", "stem.bias", "conv1.weight", "conv2.weight", "conv2.bias"),
            *("after_add.weight", "after_add.bias", "fc.weight"),
        },
        "conv1.weight": {"conv1.weight", "bn1.weight", "bn1.bias", "conv2.weight"},
    }
    assert not reach_outputs(model, units, images)


def test_filters_leave_linear_layers_and_neurons_leave_convolutions_alone() -> None:
    model = LeNet5().build((1, 28, 28), 10)
    sample = torch.zeros(2, 1, 28, 28)
    assert list(Filter().units(model, sample)) == ["conv1.weight", "conv2.weight"]
    assert list(Neuron().units(model, sample)) == ["fc1.weight"]


def test_filters_of_an_mlp_are_refused_by_name() -> None:
    model = Mlp(hidden=[5]).build((3,), 2)
    with pytest.raises(ValueError, match="structure=filter .* Linear.*use structure=element"):
        Filter().units(model, torch.zeros(2, 3))


def test_neurons_of_a_linear_classifier_are_refused() -> None:
    model = Mlp(hidden=[]).build((3,), 2)
    with pytest.raises(ValueError, match="structure=neuron .*of fc1: it is an output of the model"):
        Neuron().units(model, torch.zeros(2, 3))


@cases("frozen", True, False)
def test_units_are_found_although_gradients_are_off(frozen) -> None:
    model = conv_net(nn.BatchNorm2d(4)).requires_grad_(not frozen)
    with torch.set_grad_enabled(frozen):
        units = Filter().units(model, IMAGES)
    own = {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight"}
    assert masked(units) == {"0.weight": own}


def test_the_model_comes_back_as_it_was_also_after_an_error() -> None:
    model = conv_net(nn.BatchNorm2d(4)).train()
    model[0].weight.requires_grad_(False)
    model[1].eval()
    before = snapshot(model)
    Filter().units(model, IMAGES)
    with pytest.raises(RuntimeError):
        Filter().units(model, torch.zeros(2, 99, 8, 8))
    check_same(snapshot(model), before)


def test_pooling_is_chosen_in_the_config() -> None:
    assert component("structure", "neuron", pool_by="l2") == Neuron("l2")
