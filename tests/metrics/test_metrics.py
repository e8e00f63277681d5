import pytest
import torch
from conftest import cases
from torch import Tensor, nn

from harness.metrics.macs import macs
from harness.metrics.size import (
    PrunedWeightAlive,
    layer_densities,
    nonzero_fraction,
    parameters_left,
    ratio,
)
from harness.models.lenet_5 import LeNet5
from harness.models.lenet_300_100 import LeNet300100


class Twice(nn.Module):
    """One layer that is called two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(self.layer(inputs))


def ones(model: nn.Module) -> nn.Module:
    """Returns the model without random zeros: torch draws an exact 0 once in 2**24 weights."""
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def tied() -> nn.Sequential:
    """Returns two layers that share one weight of 9 elements; each has a bias of 3."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    return model


def pruned_linear() -> tuple[nn.Module, dict[str, Tensor]]:
    """Returns a model of 6 weights, of which 2 stay, and 2 biases, and the mask."""
    model = nn.Sequential(nn.Linear(3, 2))
    mask = torch.tensor([[True, False, False], [False, True, False]])
    with torch.no_grad():
        model[0].weight.copy_(mask * 2.0)
    return model, {"0.weight": mask}


def test_the_non_zero_share_is_of_all_weights_together() -> None:
    weights = {"a": torch.tensor([1.0, 0.0, 0.0, 0.0]), "b": torch.tensor([[1.0, -2.0]])}
    assert nonzero_fraction(weights) == 3 / 6
    assert layer_densities(weights) == {"a": 0.25, "b": 1.0}


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="give the prunable weights"):
        nonzero_fraction({})


def test_without_masks_all_parameters_are_left() -> None:
    assert parameters_left(LeNet300100().build((1, 28, 28), 10), {}) == 266_610
    assert parameters_left(LeNet5().build((1, 28, 28), 10), {}) == 431_080


def test_weights_are_counted_by_non_zeros_and_biases_whole() -> None:
    model, masks = pruned_linear()
    assert parameters_left(model, masks) == 2 + 2


def test_weight_that_is_alive_but_zero_is_not_counted() -> None:
    model, masks = pruned_linear()
    with torch.no_grad():
        model[0].weight.zero_()
    assert parameters_left(model, masks) == 0 + 2


def test_weight_that_is_zero_without_a_mask_counts_whole() -> None:
    model, _ = pruned_linear()
    assert parameters_left(model, {}) == 6 + 2


def test_bias_of_a_removed_unit_goes_and_one_that_is_zero_while_alive_stays() -> None:
    model, masks = pruned_linear()
    with torch.no_grad():
        model[0].bias.zero_()
    masks["0.bias"] = torch.tensor([True, False])
    assert parameters_left(model, masks) == 2 + 1


def test_norm_of_a_removed_channel_goes_with_it() -> None:
    model = ones(nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)))
    first = torch.tensor([True, False])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[1] = 0.0
    masks = {"0.weight": first.view(2, 1, 1, 1), "1.weight": first, "1.bias": first}
    assert parameters_left(model, masks) == 1 + 1 + 1


def test_shared_weight_counts_once() -> None:
    assert parameters_left(tied(), {}) == 9 + 3 + 3


def test_pruned_weight_that_is_alive_is_an_error_that_names_it() -> None:
    model, masks = pruned_linear()
    with torch.no_grad():
        model[0].weight[0, 1:] = 0.5
    with pytest.raises(PrunedWeightAlive, match=r"0\.weight: 2 of 4 pruned values are not 0"):
        parameters_left(model, masks)


def test_pruned_bias_that_is_alive_is_an_error_too() -> None:
    model, masks = pruned_linear()
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    masks["0.bias"] = torch.tensor([True, False])
    with pytest.raises(PrunedWeightAlive, match=r"0\.bias: 1 of 1"):
        parameters_left(model, masks)


def test_pruned_weight_that_is_not_a_number_is_alive() -> None:
    model, masks = pruned_linear()
    with torch.no_grad():
        model[0].weight[0, 1] = torch.nan
    with pytest.raises(PrunedWeightAlive):
        parameters_left(model, masks)


@cases("name, mask", ("1.weight", torch.ones(2, 3).bool()), ("0.weight", torch.ones(2).bool()))
def test_mask_of_another_model_is_refused(name, mask) -> None:
    model, _ = pruned_linear()
    with pytest.raises(ValueError, match="is it of another model"):
        parameters_left(model, {name: mask})


def test_a_ratio_is_before_by_after_and_none_when_nothing_is_left() -> None:
    assert ratio(100, 20) == 5.0
    assert ratio(100, 0) is None


def test_the_dense_network_counts_whole_even_where_a_fresh_weight_is_zero() -> None:
    model = ones(LeNet300100().build((1, 28, 28), 10))
    next(model.parameters()).data[0, 0] = 0
    assert macs(model, (1, 28, 28)) == 266_199
    assert macs(model, (1, 28, 28), whole=True) == 266_200


def test_lenets_have_the_published_macs() -> None:
    assert macs(ones(LeNet300100().build((1, 28, 28), 10)), (1, 28, 28)) == 266_200
    assert macs(ones(LeNet5().build((1, 28, 28), 10)), (1, 28, 28)) == 2_293_000


@cases(
    "layer, shape, wanted",
    # weights x output positions
    (nn.Conv2d(4, 8, 3), (4, 6, 6), 8 * 4 * 9 * 16),
    (nn.Conv2d(4, 8, 3, groups=4), (4, 6, 6), 8 * 1 * 9 * 16),
    (nn.Conv2d(4, 8, 3, padding=1), (4, 6, 6), 8 * 4 * 9 * 36),
    (nn.Conv2d(4, 8, 3, stride=2, padding=1), (4, 6, 6), 8 * 4 * 9 * 9),
    (nn.Conv2d(4, 8, 3, dilation=2), (4, 6, 6), 8 * 4 * 9 * 4),
    (nn.Conv1d(2, 3, 5), (2, 9), 3 * 2 * 5 * 5),
    (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 2 * 8 * 8),
    # weights x input positions
    (nn.ConvTranspose2d(4, 8, 2, stride=2), (4, 3, 3), 4 * 8 * 4 * 9),
    (nn.ConvTranspose2d(4, 8, 2, stride=2, groups=2), (4, 3, 3), 4 * 4 * 4 * 9),
    # weights x tokens
    (nn.Linear(4, 8), (5, 4), 4 * 8 * 5),
)
def test_macs_are_weights_times_positions(layer, shape, wanted) -> None:
    assert macs(ones(layer), shape) == wanted


def test_pruned_weights_cost_no_macs() -> None:
    model = ones(nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(2 * 4, 2)))
    with torch.no_grad():
        model[0].weight[0] = 0.0
        model[2].weight[:, :5] = 0.0
    # 4 of 8 filter weights at 4 pixels, 6 of 16 linear ones
    assert macs(model, (1, 3, 3)) == 4 * 4 + 6


def test_layer_called_twice_counts_twice() -> None:
    assert macs(ones(Twice()), (4,)) == 2 * 16


def test_layers_that_share_a_weight_count_each() -> None:
    assert macs(ones(tied()), (3,)) == 2 * 9


def test_macs_take_the_models_dtype() -> None:
    assert macs(ones(nn.Linear(3, 2).double()), (3,)) == 6


def test_macs_leave_modes_statistics_and_hooks_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    macs(model, (1, 2, 2))

    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_macs_leave_modes_and_hooks_as_they_were_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2))

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        macs(model, (3,))

    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_macs_of_a_model_without_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has no Conv or Linear layer"):
        macs(nn.ReLU(), (3,))
