"""Looking at a network that keeps its last activations works, and leaves them as they were."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import harness
from harness.metrics.connectivity import connectivity
from harness.metrics.macs import count_macs
from harness.pruning.graph.graph import graph_of
from harness.vocabulary.undisturbed import deepcopy_model


class Keeping(nn.Linear):
    """Keeps its last activation, alone and in a list."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        self.maps = [self.last]
        return self.last


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Keeping(4, 6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)


@pytest.mark.parametrize(
    ("saliency", "dtype"),
    [("magnitude", torch.bfloat16), ("synflow", torch.float32), ("movement", torch.float32)],
)
def test_a_module_that_keeps_its_last_activation_is_pruned_as_a_fresh_one(saliency, dtype) -> None:
    x, labels = torch.ones(8, 4), torch.arange(8) % 3
    fresh, used = network(dtype), network(dtype)
    used(x.to(dtype))
    kept: Any = used[0].last
    found = [
        harness.prune(each, 0.5, saliency=saliency, batches=[(x, labels)]) for each in (fresh, used)
    ]
    assert all(torch.equal(mask, found[1][name]) for name, mask in found[0].items())
    assert used[0].last is kept and kept.grad_fn is not None


def test_a_pass_that_traces_a_network_leaves_no_attribute_behind() -> None:
    model: Any = network()
    harness.prune(model, 0.5, structure="neuron", example_input=torch.ones(2, 4))
    assert not hasattr(model[0], "last")


class Held:
    def __init__(self, value: Tensor):
        self.value = value


def test_what_cannot_be_copied_is_told_in_one_line_with_the_way_out() -> None:
    model: Any = network()
    model.held = Held(model(torch.ones(1, 4)))
    with pytest.raises(ValueError, match=r"Sequential cannot be copied \(.*\); let its .* detach"):
        deepcopy_model(model)


def test_passes_over_operators_run_a_compiled_model_as_it_is_written(caplog) -> None:
    frames: list[object] = []

    def backend(graph: Any, inputs: Any) -> Any:
        frames.append(graph)
        return graph.forward

    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    model.compile(backend=backend)
    inputs = torch.rand(1, 4)
    assert count_macs(model, inputs).dense == 4 * 6 + 6 * 3
    assert connectivity(model, torch.zeros(1, 4)).effective_density == 1.0
    assert set(graph_of(model, inputs).order) == {"0.weight", "2.weight"}
    assert frames == [] and not caplog.records
    model(inputs)
    assert len(frames) == 1


class Uncopied:
    def __deepcopy__(self, memo: object) -> None:
        raise TypeError


def test_a_copy_that_fails_without_a_message_is_refused_by_the_kind_of_error() -> None:
    model = nn.Linear(1, 1)
    model.held = Uncopied()
    with pytest.raises(ValueError, match=r"Linear cannot be copied \(TypeError\)"):
        deepcopy_model(model)
