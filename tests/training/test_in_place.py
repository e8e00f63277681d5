"""Networks that write into what they are given, and buffers that nothing can write to."""

import copy

import pytest
import torch
from torch import Tensor, nn

import harness
from harness.model_state.whole_state import load_into, whole_state
from harness.vocabulary.tensors import eval_mode


class Centred(nn.Module):
    """Takes the mean off its input, in place or not."""

    def __init__(self, in_place: bool):
        super().__init__()
        self.in_place = in_place

    def forward(self, inputs: Tensor) -> Tensor:
        mean = inputs.mean()
        if not self.in_place:
            return (inputs - mean) * 0.5
        inputs -= mean
        return inputs.mul_(0.5)


def network(first: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(first, nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.parametrize("method", ["global_magnitude", "iterative_snip", "wanda"])
def test_a_network_that_writes_into_its_inputs_is_pruned_as_one_that_does_not(method) -> None:
    inputs, labels = torch.randn(8, 6), torch.arange(8) % 4
    before = inputs.clone()
    found, expected = (
        harness.prune(network(Centred(way)), 0.5, method=method, batches=[(inputs, labels)])
        for way in (True, False)
    )
    assert torch.equal(inputs, before)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())


class Scaled(nn.Module):
    """Multiplies by one number that it holds as a vector."""

    def __init__(self, expanded: bool):
        super().__init__()
        scale = torch.full((1,), 2.0).expand(6)
        self.register_buffer("scale", scale if expanded else scale.clone(), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


@pytest.mark.parametrize("structure", ["element", "neuron"])
def test_an_expanded_buffer_is_computed_with_and_kept_like_any_other(structure) -> None:
    models = [network(Scaled(expanded)) for expanded in (True, False)]
    scale = models[0][0].scale
    batches = [(torch.randn(8, 6), torch.arange(8) % 4)]
    found, expected = (
        harness.prune(one, 0.5, structure=structure, saliency="weight_gradient", batches=batches)
        for one in models
    )
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    assert models[0][0].scale is scale and scale.stride() == (0,)


def test_what_a_forward_writes_below_an_expanded_buffer_is_taken_back() -> None:
    model: nn.Module = Scaled(True)
    with eval_mode(model):
        model.scale[:1].mul_(3)
        model.scale = torch.zeros(6)
    assert model.scale.tolist() == [2.0] * 6 and model.scale.stride() == (0,)


def test_a_stored_state_goes_into_an_expanded_buffer_without_writing_to_it() -> None:
    model = network(Scaled(True))
    other = copy.deepcopy(model)
    other[0].scale = torch.arange(6.0)
    load_into(model, whole_state(other))
    assert model[0].scale.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:UserWarning")
def test_a_quantized_buffer_is_left_alone_and_refused_where_files_are_to_hold_it() -> None:
    model = network(nn.Identity())
    table = torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)
    model.register_buffer("table", table)
    assert harness.score(model, "magnitude", batches=[(torch.ones(2, 6), torch.zeros(2).long())])
    assert model.table is table
    with pytest.raises(ValueError, match=r"table is torch\.qint8, and files .*dequantize"):
        whole_state(model)
