"""Maps of units in every kind of layer, and the saliencies that measure them."""

import torch
from conftest import cases, component
from simulated import total
from torch import Tensor, nn
from units_by_hand import IMAGES, POINTS, batch, filled, kernel, line, measured, same

from harness.pruning.reader import companions_of
from harness.saliency.apoz import APoZ
from harness.saliency.base import CalibrationData
from harness.saliency.hrank import HRank
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.shared.activations import norms_of
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_unit import TaylorUnit
from harness.structure.filter import Filter


@cases(
    "saliency, neurons, filters",
    (MeanActivation(), [1.5, 1.0], [2.25]),
    (MeanActivation("none"), [3.0, 1.5], [2.5]),
    (APoZ(), [0.5, 0.5], [0.75]),
    (HRank(), [0.5, 0.5], [1.0]),
)
def test_measures_by_hand(saliency, neurons, filters) -> None:
    assert measured(saliency, line(), POINTS) == neurons
    assert measured(saliency, kernel(), IMAGES) == filters


def test_an_activation_of_exactly_0_counts_as_off() -> None:
    assert measured(APoZ(), kernel(), [[[[-0.5, 1.0]]]]) == [0.5]


def test_a_batch_of_few_samples_does_not_weigh_more() -> None:
    data = [batch([[1.0], [1.0], [1.0]]), batch([[5.0]])]
    statistics = MeanActivation().statistics(CalibrationData(line(), data, total))
    # (3 + 3 + 3 + 11) / 4, not (3 + 11) / 2.
    assert statistics["weight"].tolist() == [5.0, 0.0]


def test_the_maps_of_a_linear_layer_on_tokens_are_its_last_dimension() -> None:
    # As many tokens as units: x and -x at tokens 1 and -3.
    model = filled(nn.Linear(1, 2, bias=False), [1.0, -1.0])
    assert measured(MeanActivation(), model, [[[1.0], [-3.0]]]) == [0.5, 1.5]


@cases("dims", 1, 2, 3)
def test_the_maps_of_a_convolution_are_its_channels(dims) -> None:
    # Two channels on maps two wide, so that no other dimension is told from them by its size.
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][dims - 1]
    image = torch.ones(1, 1, *[2] * dims)
    image[(0, 0, *[0] * dims)] = -3.0
    places = 2**dims
    assert measured(APoZ(), same(layer), image) == [1 - 1 / places, 1 / places]
    assert measured(MeanActivation("none"), same(layer), image) == [(places + 2) / places] * 2


def test_padded_strided_dilated_and_grouped_maps_are_measured_as_they_come() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2)
    images = torch.randn(3, 4, 7, 9)
    expected = layer(images).relu().mean((0, 2, 3))
    torch.testing.assert_close(
        torch.tensor(measured(MeanActivation(), layer, images)), expected.detach()
    )


@cases(
    "norm, shape",
    (nn.BatchNorm2d(2, eps=0.0), (1, 1, 2, 2)),
    (nn.GroupNorm(2, 2), (1, 1, 2, 2)),
    (nn.InstanceNorm2d(2, affine=True), (1, 1, 2, 2)),
)
def test_the_maps_behind_a_norm_are_its_channels(norm, shape) -> None:
    nn.init.zeros_(norm.weight)
    norm.bias = nn.Parameter(torch.tensor([5.0, -1.0]))
    model = nn.Sequential(same(nn.Conv2d), norm)
    units = {"0.weight": ("1.weight", "1.bias")}
    assert measured(MeanActivation(), model, torch.randn(shape), units) == [5.0, 0.0]


@cases("kind", nn.LayerNorm, nn.BatchNorm1d)
def test_the_maps_of_neurons_behind_a_norm_are_its_last_or_second_dimension(kind) -> None:
    norm = kind(2)
    nn.init.zeros_(norm.weight)
    norm.bias = nn.Parameter(torch.tensor([5.0, -1.0]))
    units = {"0.weight": ("0.bias", "1.weight", "1.bias")}
    assert measured(MeanActivation(), nn.Sequential(line(), norm), POINTS, units) == [5.0, 0.0]
    if kind is nn.LayerNorm:
        tokens = torch.randn(1, 2, 1)
        assert measured(MeanActivation(), nn.Sequential(line(), norm), tokens, units) == [5.0, 0.0]


def test_a_norm_that_permutes_inside_is_passed_over_for_its_layer() -> None:
    class ChannelsFirst(nn.LayerNorm):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs.movedim(1, -1)).movedim(-1, 1)

    model = nn.Sequential(same(nn.Conv2d), ChannelsFirst(2))
    units = {"0.weight": ("1.weight", "1.bias")}
    assert measured(MeanActivation(), model, torch.ones(1, 1, 2, 2), units) == [1.0, 0.0]


def test_of_two_norms_in_a_row_the_one_nearer_to_the_outputs_counts() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    units = companions_of(Filter().units(model, torch.zeros(2, 1, 2, 2)))
    nn.init.constant_(model[1].bias, 9.0)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, 5.0)
    assert norms_of(model, units["0.weight"]) == [model[2], model[1]]
    assert measured(MeanActivation(), model, torch.ones(1, 1, 2, 2), units) == [5.0, 5.0]


class Folded(nn.Module):
    """Passes a clip's frames through the convolution as rows of one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = same(nn.Conv2d)

    def forward(self, clips: Tensor) -> Tensor:
        return self.conv(clips.flatten(0, 1))


def test_layers_may_see_several_rows_of_a_sample() -> None:
    clips = torch.tensor([[1.0, -3.0], [5.0, 7.0]]).view(2, 2, 1, 1, 1)
    # (1 - 3)^2 and (5 + 7)^2: all frames of a clip are one sample.
    assert measured(TaylorUnit(), Folded(), clips) == [74.0, 74.0]
    assert measured(MeanActivation(), Folded(), clips) == [3.25, 0.75]


class Twice(nn.Module):
    """y = w x + w (2 x), by one layer called twice or by two layers that share w = 1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.one = filled(nn.Linear(1, 1, bias=False), [1.0])
        self.two = nn.Linear(1, 1, bias=False) if layers == 2 else self.one
        self.two.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.one(inputs) + self.two(2 * inputs)


@cases("layers", 1, 2)
def test_calls_add_up_under_a_gate_and_are_averaged_as_maps(layers) -> None:
    model = Twice(layers)
    assert measured(TaylorUnit(), model, [[1.0]]) == [9.0]
    # z dL/dz is 1 and 2: their sum, over as many positions as there are calls.
    assert measured(TaylorActivation(normalise=False), model, [[1.0]]) == [1.5]
    assert measured(MeanActivation(), model, [[1.0]]) == [1.5]
    assert measured(APoZ(), model, [[1.0]]) == [1.0]


def test_a_layer_that_some_samples_pass_by_has_0_for_these() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = filled(nn.Linear(1, 1, bias=False), [1.0])

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs) if inputs.sum() > 0 else inputs

    assert measured(MeanActivation("none"), Gated(), [[4.0], [-1.0]]) == [2.0]
    assert measured(TaylorUnit(), Gated(), [[4.0], [-1.0]]) == [8.0]


def test_the_activation_is_chosen_in_the_config() -> None:
    assert component("saliency", "mean_activation", activation="none") == MeanActivation("none")
