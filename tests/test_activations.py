"""Maps of units in every kind of layer, and the saliencies that measure them."""

from collections.abc import Callable

import pytest
import torch
from conftest import component
from torch import Tensor, nn

from harness.saliency.activations import mean_of_maps, norms_of
from harness.saliency.apoz import APoZ
from harness.saliency.base import Grouping
from harness.saliency.hrank import HRank
from harness.saliency.mean_activation import MeanActivation
from harness.saliency.taylor_activation import TaylorActivation
from harness.saliency.taylor_unit import TaylorUnit
from harness.structure.filter import Filter
from harness.tensors import Batch, mean_alone

MEASURES = [MeanActivation(), APoZ(), HRank(), TaylorUnit()]


def total(outputs: Tensor, labels: Tensor) -> Tensor:
    return outputs.sum()


def batch(inputs: object) -> Batch:
    xs = torch.as_tensor(inputs)
    return xs, torch.zeros(len(xs), dtype=torch.int64)


def filled(layer: nn.Module, weight: object, bias: object = None) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight).view_as(layer.weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def measured(
    saliency: object, model: nn.Module, inputs: object, units: Grouping | None = None
) -> list[float]:
    """Scores of the first layer."""
    evidence = saliency.evidence(model, [batch(inputs)], total, mean_alone, units)
    first = next(iter(evidence))
    return saliency.score({first: torch.empty(0)}, evidence)[first].tolist()


def line() -> nn.Module:
    """Units z = (2 x + 1, -x)."""
    return filled(nn.Linear(1, 2), [2.0, -1.0], [1.0, 0.0])


def kernel() -> nn.Module:
    """One filter, z = 2 x + 1 at each position."""
    return filled(nn.Conv2d(1, 1, 1), [2.0], [1.0])


def same(layer: type[nn.Module]) -> nn.Module:
    """Two filters, z = (x, -x) at each position."""
    return filled(layer(1, 2, 1, bias=False), [1.0, -1.0])


IMAGES = [[[[1.0, 2.0]]], [[[0.0, -1.0]]]]  # z = (3, 5) and (1, -1)
POINTS = [[1.0], [-2.0]]  # z = (3, -1) and (-3, 2)


@pytest.mark.parametrize(
    ("saliency", "neurons", "filters"),
    [
        (MeanActivation(), [1.5, 1.0], [2.25]),
        (MeanActivation("none"), [3.0, 1.5], [2.5]),
        (APoZ(), [0.5, 0.5], [0.75]),
        (HRank(), [0.5, 0.5], [1.0]),
    ],
)
def test_measures_by_hand(saliency: APoZ, neurons: list[float], filters: list[float]) -> None:
    assert measured(saliency, line(), POINTS) == neurons
    assert measured(saliency, kernel(), IMAGES) == filters


def test_an_activation_of_exactly_0_counts_as_off() -> None:
    assert measured(APoZ(), kernel(), [[[[-0.5, 1.0]]]]) == [0.5]


def test_a_batch_of_few_samples_does_not_weigh_more() -> None:
    data = [batch([[1.0], [1.0], [1.0]]), batch([[5.0]])]
    evidence = MeanActivation().evidence(line(), data, total, mean_alone)
    # (3 + 3 + 3 + 11) / 4, not (3 + 11) / 2.
    assert evidence["weight"].tolist() == [5.0, 0.0]


def test_the_maps_of_a_linear_layer_on_tokens_are_its_last_dimension() -> None:
    # As many tokens as units: x and -x at tokens 1 and -3.
    model = filled(nn.Linear(1, 2, bias=False), [1.0, -1.0])
    assert measured(MeanActivation(), model, [[[1.0], [-3.0]]]) == [0.5, 1.5]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_maps_of_a_convolution_are_its_channels(dims: int) -> None:
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


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(2, eps=0.0), (1, 1, 2, 2)),
        (nn.GroupNorm(2, 2), (1, 1, 2, 2)),
        (nn.InstanceNorm2d(2, affine=True), (1, 1, 2, 2)),
    ],
)
def test_the_maps_behind_a_norm_are_its_channels(norm: nn.Module, shape: tuple[int, ...]) -> None:
    nn.init.zeros_(norm.weight)
    norm.bias = nn.Parameter(torch.tensor([5.0, -1.0]))
    model = nn.Sequential(same(nn.Conv2d), norm)
    units = {"0.weight": ("1.weight", "1.bias")}
    assert measured(MeanActivation(), model, torch.randn(shape), units) == [5.0, 0.0]


@pytest.mark.parametrize("kind", [nn.LayerNorm, nn.BatchNorm1d])
def test_the_maps_of_neurons_behind_a_norm_are_its_last_or_second_dimension(
    kind: Callable[[int], nn.Module],
) -> None:
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
    units = Filter().units(model, torch.zeros(2, 1, 2, 2))
    nn.init.constant_(model[1].bias, 9.0)
    nn.init.zeros_(model[2].weight)
    nn.init.constant_(model[2].bias, 5.0)
    assert norms_of(model, units["0.weight"]) == [model[2], model[1]]
    assert measured(MeanActivation(), model, torch.ones(1, 1, 2, 2), units) == [5.0, 5.0]


class Folded(nn.Module):
    """A clip's frames go through the convolution as rows of one batch."""

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
        outputs: Tensor = self.one(inputs) + self.two(2 * inputs)
        return outputs


@pytest.mark.parametrize("layers", [1, 2])
def test_calls_add_up_under_a_gate_and_are_averaged_as_maps(layers: int) -> None:
    model = Twice(layers)
    assert measured(TaylorUnit(), model, [[1.0]]) == [9.0]
    # z dL/dz is 1 and 2: their sum, over as many positions as there are calls.
    assert measured(TaylorActivation(normalise=False), model, [[1.0]]) == [1.5]
    assert measured(MeanActivation(), model, [[1.0]]) == [1.5]
    assert measured(APoZ(), model, [[1.0]]) == [1.0]


class Uncalled(nn.Module):
    """The second layer's module is never called, only its weight is used."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(1, 1), nn.Linear(1, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = nn.functional.linear(self.used(inputs), self.spare.weight)
        return outputs


@pytest.mark.parametrize("saliency", MEASURES)
@pytest.mark.parametrize("units", [None, {"spare.weight": ()}])
def test_a_layer_that_is_never_called_is_refused_by_name(
    saliency: APoZ, units: Grouping | None
) -> None:
    model = Uncalled().requires_grad_(False)
    with pytest.raises(ValueError, match=r"never calls .* spare.weight, .* exclude spare$"):
        saliency.evidence(model, [batch(POINTS)], total, mean_alone, units)


def test_a_layer_that_some_samples_pass_by_has_0_for_these() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = filled(nn.Linear(1, 1, bias=False), [1.0])

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layer(inputs) if inputs.sum() > 0 else inputs

    assert measured(MeanActivation("none"), Gated(), [[4.0], [-1.0]]) == [2.0]
    assert measured(TaylorUnit(), Gated(), [[4.0], [-1.0]]) == [8.0]


@pytest.mark.parametrize("saliency", MEASURES)
def test_a_transposed_convolution_is_refused_by_name(saliency: APoZ) -> None:
    model = nn.Sequential(nn.ConvTranspose2d(1, 3, 1))
    with pytest.raises(ValueError, match=r"0.weight is of a transposed convolution.*exclude 0$"):
        saliency.evidence(model, [batch(IMAGES)], total, mean_alone)


def test_an_output_of_another_width_is_refused_by_name() -> None:
    class Halved(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs)[..., :1]

    with pytest.raises(ValueError, match=r"weight has 2 units, .* Halved gives shape \(1, 1\)"):
        measured(APoZ(), Halved(1, 2), POINTS)


@pytest.mark.parametrize("saliency", [*MEASURES, MeanActivation("none")])
def test_an_activation_that_is_not_finite_is_refused_with_its_tensor(saliency: APoZ) -> None:
    with pytest.raises(ValueError, match="of weight is not finite"):
        measured(saliency, kernel(), [[[[torch.nan, 1.0]]]])


@pytest.mark.parametrize("saliency", MEASURES)
def test_hooks_are_gone_after_an_error_in_the_model(saliency: APoZ) -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.Linear(3, 1)).train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        saliency.evidence(model, [batch(POINTS)], total, mean_alone)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(module.training for module in model.modules())


def test_hooks_are_gone_after_an_error_in_the_measure() -> None:
    def failing(z: Tensor) -> Tensor:
        raise ZeroDivisionError

    model = line()
    with pytest.raises(ZeroDivisionError):
        mean_of_maps(model, [batch(POINTS)], mean_alone, None, failing)
    assert not model._forward_hooks


def rank(image: object, layer: type[nn.Module] = nn.Conv2d) -> float:
    return measured(HRank(), filled(layer(1, 1, 1, bias=False), [1.0]), image)[0]


def test_ranks_by_hand() -> None:
    assert rank([[[[1.0, 0.0], [0.0, 1.0]]]]) == 2
    assert rank([[[[1.0, 1.0], [1.0, 1.0]]]]) == 1
    assert rank([[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 1.0]]]]) == 1.5
    assert rank([[[[0.0, -1.0], [-2.0, 0.0]]]]) == 0
    # A small singular value is one.
    assert rank([[[[1.0, 0.0], [0.0, 1e-5]]]]) == 2
    # Of rank 1 before the ReLU, of rank 2 behind it.
    assert rank([[[[1.0, -1.0], [-1.0, 1.0]]]]) == 2


def test_a_vector_has_rank_1_or_0() -> None:
    assert rank([[[1.0, 2.0, 3.0]], [[-1.0, -2.0, -3.0]]], nn.Conv1d) == 0.5
    tokens = torch.tensor([[[1.0], [2.0]], [[-1.0], [0.0]]])
    assert measured(HRank(), filled(nn.Linear(1, 1, bias=False), [1.0]), tokens) == [0.5]


def test_the_depth_of_a_volume_makes_rows() -> None:
    # Slices (1, 0) and (0, 1), each 1 x 2, stand above each other.
    assert rank([[[[[1.0, 0.0]], [[0.0, 1.0]]]]], nn.Conv3d) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_of_the_map_makes_no_rank(dtype: torch.dtype) -> None:
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        column, row = torch.rand(2, 24, generator=stream, dtype=dtype)
        image = torch.outer(column, row).view(1, 1, 24, 24)
        layer = filled(nn.Conv2d(1, 1, 1, bias=False), [0.7]).to(dtype)
        assert measured(HRank(), layer, image) == [1.0]


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="activation must be relu or none, got 'gelu'"):
        MeanActivation("gelu")


def test_the_activation_is_chosen_in_the_config() -> None:
    assert component("saliency", "mean_activation") == MeanActivation("relu")
    assert component("saliency", "mean_activation", activation="none") == MeanActivation("none")
