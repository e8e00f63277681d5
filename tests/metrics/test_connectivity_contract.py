"""Reachable weights of every model, which is left as it was."""

import pytest
import torch
from conftest import every, shape_for
from random_masks import pruned
from torch import Tensor, nn

from harness.metrics.connectivity import connected_weights, connectivity
from harness.vocabulary.tensors import prunable_weights


@every("model")
def test_a_dense_network_of_conf_is_wholly_reachable(model) -> None:
    torch.manual_seed(0)
    # In the last stage of a VGG, the outer weights of a kernel meet padding alone on fewer pixels.
    shape = tuple(size if size <= 3 else max(size, 32) for size in shape_for(model))
    network = model.build(shape, 10)
    with torch.no_grad():
        for weight in prunable_weights(network).values():
            weight[weight == 0] = 0.01
    assert all(mask.all() for mask in connected_weights(network, torch.zeros(1, *shape)).values())
    assert connectivity(network, torch.zeros(1, *shape)).effective_density == 1.0


@every("model")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_model_and_the_random_streams_come_back_as_they_were(model, dtype) -> None:
    shape = shape_for(model)
    network = pruned(model.build(shape, 10).to(dtype), 0.1, 0)
    next(network.modules()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = [(id(p), p.requires_grad) for p in network.parameters()]
    modes, stream = [m.training for m in network.modules()], torch.get_rng_state()

    first, second = (
        connected_weights(network, torch.zeros(1, *shape)),
        connected_weights(network, torch.zeros(1, *shape)),
    )

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [(id(p), p.requires_grad) for p in network.parameters()] == parameters
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [m.training for m in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), stream)


def test_buffers_that_the_forward_writes_to_come_back_as_they_were() -> None:
    class Counting(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.register_buffer("seen", torch.zeros((), dtype=torch.long))
            self.register_buffer("largest", torch.zeros((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            self.seen += 1  # type: ignore
            self.largest.copy_(x.max())  # type: ignore
            return super().forward(x)

    network = Counting()
    with torch.no_grad():
        network.weight[0] = 0
    assert connectivity(network, torch.zeros(1, 3)).dead_units == {"weight": 1}
    assert network.seen == 0 and network.largest == 0


def test_after_an_error_the_model_is_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(5, 2))
    with torch.no_grad():
        network[0].weight[0] = 0  # type: ignore
    own = network[0].weight
    with pytest.raises(RuntimeError, match="shape"):
        connected_weights(network, torch.zeros(1, 3))
    assert "shape" in str(connectivity(network, torch.zeros(1, 3)).unknown)
    assert network.training and network[0].weight is own


def test_without_a_layer_to_prune_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no Conv or Linear layer"):
        connectivity(nn.ReLU(), torch.zeros(1, 3))
