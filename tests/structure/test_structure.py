"""Units: what is pooled, what goes along with them, and which layers have none."""

import pytest
import torch
from conftest import cases, component
from left_alone import check_same, snapshot
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


@cases("pool_by, pooled", ("mean", [3.5, 1.0]), ("sum", [7.0, 2.0]), ("l2", [5.0, 2.0]))
def test_pooling_by_hand(pool_by, pooled) -> None:
    assert Neuron(pool_by).pool(SCORES).tolist() == pooled


def test_a_filter_is_pooled_over_all_its_other_dimensions() -> None:
    scores = torch.arange(8.0).view(2, 1, 2, 2)
    assert Filter("sum").pool(scores).tolist() == [6.0, 22.0]
    assert Filter("mean").pool(scores).tolist() == [1.5, 5.5]


def test_unit_masks_are_expanded_to_whole_rows() -> None:
    units = torch.tensor([True, False])
    assert Neuron().expand(units, (2, 3)).tolist() == [[True] * 3, [False] * 3]
    mask = Filter().expand(units, (2, 1, 2, 2))
    assert mask[0].all() and not mask[1].any() and mask.shape == (2, 1, 2, 2)


def test_an_element_is_its_own_unit() -> None:
    assert torch.equal(Element().pool(SCORES), SCORES)
    mask = SCORES > 1
    assert torch.equal(Element().expand(mask, (2, 2)), mask)


def test_an_unknown_pooling_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pool_by must be one of mean, sum, l2, got 'max'"):
        Filter("max")


def test_single_weights_of_every_layer_go_and_nothing_goes_along() -> None:
    model = Mlp(hidden=[5]).build((3,), 2)
    assert Element().units(model, torch.zeros(2, 3)) == {"fc1.weight": (), "fc2.weight": ()}


def test_a_neuron_takes_its_bias_and_outputs_are_never_removed() -> None:
    model = Mlp(hidden=[5, 4]).build((3,), 2)
    assert Neuron().units(model, torch.zeros(2, 3)) == {
        "fc1.weight": ("fc1.bias",),
        "fc2.weight": ("fc2.bias",),
    }


def test_a_layer_without_bias_takes_nothing_along() -> None:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    assert Neuron().units(model, torch.zeros(2, 3)) == {"0.weight": ()}


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


def test_a_filter_takes_scale_and_shift_of_its_norm() -> None:
    units = Filter().units(conv_net(nn.BatchNorm2d(4)), IMAGES)
    assert units == {"0.weight": ("0.bias", "1.weight", "1.bias")}


def test_the_norm_may_come_after_the_activation() -> None:
    units = Filter().units(conv_net(nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4)), IMAGES)
    assert units == {"0.weight": ("0.bias", "3.weight", "3.bias")}


def test_a_norm_without_scale_and_shift_has_nothing_to_take() -> None:
    units = Filter().units(conv_net(nn.BatchNorm2d(4, affine=False)), IMAGES)
    assert units == {"0.weight": ("0.bias",)}


def test_a_group_norm_has_one_scale_per_filter_too() -> None:
    units = Filter().units(conv_net(nn.GroupNorm(2, 4)), IMAGES)
    assert units == {"0.weight": ("0.bias", "1.weight", "1.bias")}


def test_a_layer_norm_has_one_scale_per_neuron_too() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2))
    units = Neuron().units(model, torch.zeros(2, 3))
    assert units == {"0.weight": ("0.bias", "1.weight", "1.bias")}


def test_neurons_take_their_norm_too() -> None:
    model = Mlp(hidden=[5], batch_norm=True).build((3,), 2)
    units = Neuron().units(model, torch.zeros(2, 3))
    assert units == {"fc1.weight": ("fc1.bias", "bn1.weight", "bn1.bias")}


def test_a_norm_after_an_addition_of_two_layers_is_not_taken() -> None:
    assert Filter().units(Residual(), IMAGES) == {
        "stem.weight": ("stem.bias",),
        "conv1.weight": ("bn1.weight", "bn1.bias"),
        "conv2.weight": ("conv2.bias",),
    }


def test_filters_before_a_norm_over_flattened_pixels_are_refused() -> None:
    # It has a scale and shift per pixel of each filter: a removed filter would go on sending four.
    model = nn.Sequential(
        nn.Conv2d(3, 4, 7), nn.Flatten(), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
    )
    with pytest.raises(ValueError, match="nothing to prune; of 0: units reach 2.bias"):
        Filter().units(model, IMAGES)


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
    with pytest.raises(ValueError, match="structure=neuron .*outputs are never removed"):
        Neuron().units(model, torch.zeros(2, 3))


def test_frozen_layers_are_seen() -> None:
    model = conv_net(nn.BatchNorm2d(4)).requires_grad_(False)
    units = Filter().units(model, IMAGES)
    assert units == {"0.weight": ("0.bias", "1.weight", "1.bias")}


def test_units_are_found_although_the_caller_turned_gradients_off() -> None:
    with torch.no_grad():
        units = Filter().units(conv_net(nn.BatchNorm2d(4)), IMAGES)
    assert units == {"0.weight": ("0.bias", "1.weight", "1.bias")}


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
