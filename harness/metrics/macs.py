"""Counts multiply-accumulates of one sample: of the whole model, and of what pruning leaves."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.metrics.counter import MacCounter
from harness.vocabulary import tensors
from harness.vocabulary.given.inputs import Inputs, call_model, device_of
from harness.vocabulary.undisturbed import uncompiled


@dataclass(frozen=True, eq=False)
class Macs:
    """Holds what one forward pass of one sample multiplies and adds; `count_macs` makes it.

    weights: multiply-accumulates by parameter, none pruned. uses: by parameter how often each
    entry is multiplied: positions, the same for all entries or a tensor of the parameter's shape.
    activations: products of two activations (Q K^T), which belong to no weight.
    uncounted: operator -> weights that enter it; how often it multiplies them is not known. If
    there is any, the other numbers are lower bounds.
    """

    weights: tensors.Counts
    uses: Mapping[str, int | Tensor]
    activations: int
    uncounted: dict[str, list[str]]

    @property
    def dense(self) -> int:
        return sum(self.weights.values()) + self.activations

    def remaining(self, alive: tensors.Tensors, activations: int | None = None) -> int:
        """Returns the MACs of non-zero entries of these weights or masks, others whole.

        activations: what is left of products of two activations; None for all.
        """
        return (self.activations if activations is None else activations) + sum(
            _remaining(self.uses[name], alive[name]) if name in alive else count
            for name, count in self.weights.items()
        )


def count_macs(model: nn.Module, inputs: Inputs) -> Macs:
    """Counts one forward pass, in eval mode, on `inputs` of one sample (1, ...).

    Counted is every sum of products: matrix products, convolutions, attention, recurrent layers,
    nn.Bilinear, and an elementwise product with a weight that is summed over that weight's
    entries. It is counted by the operators that run, so calls of modules, of functions and of
    operators count alike, and belongs to the parameter that enters the operator, also as a view, a
    copy in another dtype, a slice or a part of a concatenation. A weight's entry counts once per
    position that it is multiplied at: groups, stride and dilation come out right, products with
    padding count, a layer called twice counts twice. Products of two activations belong to no
    weight. Biases, norms, activations, pooling, look-ups and other elementwise operators count
    nothing, as in the literature.

    Not known, and named in `uncounted`, is a weight that meets an input in an operator without a
    formula, a prunable one that the model changes before it multiplies (weight standardisation:
    a pruned entry is then not 0), one that meets an input elementwise in anything but a product
    (the distance to its rows), one that becomes or meets a sparse or nested tensor, and two
    prunable weights multiplied with each other. An operator that takes packed weights (torch's
    quantised layers) is named without them.

    The model is left unchanged: modes, buffers; also after an error. So are torch's random streams.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    parameters, prunable = dict(model.named_parameters()), tensors.prunable_layers(model)
    device = device_of(inputs)
    counter = MacCounter(parameters, prunable, inputs)
    with (
        tensors.eval_mode(model),
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        _slow_path(),
        uncompiled(),
        torch.no_grad(),
        counter,
    ):
        call_model(model, inputs)
    uses = {name: _one_number(value) for name, value in counter.uses.items()}
    dense = {name: _dense_count(uses[name], value.numel()) for name, value in parameters.items()}
    return Macs(
        weights={name: count for name, count in dense.items() if count or name in prunable},
        uses=uses,
        activations=counter.activations,
        uncounted=counter.uncounted(),
    )


def macs(model: nn.Module, shape: tuple[int, ...], whole: bool = False) -> int:
    """Returns the MACs of one sample of zeros of `shape`: of non-zero prunable weights, or of all.

    whole: zeros count too. That is the dense model's number: torch's default init draws an
    exact 0 once in 2**24 weights, so one LeNet-5 in 40 has one before any pruning.

    Raises:
        ValueError: the model has no Conv or Linear layer, or its count is not known.
    """
    weights = tensors.prunable_weights(model)
    first = next(iter(weights.values()))
    result = count_macs(model, torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    if result.uncounted:
        raise ValueError(f"{type(model).__name__}: {describe_uncounted(result.uncounted)}")
    return result.dense if whole else result.remaining(weights)


def describe_uncounted(uncounted: Mapping[str, Sequence[str]]) -> str:
    """Returns the part of a message that names an operator whose count is unknown.

    >>> describe_uncounted({"aten._cdist_forward.default": ["fc.weight"]})
    'how often aten._cdist_forward.default multiplies fc.weight is not known'
    """
    first, names = next(iter(uncounted.items()))
    return f"how often {first} multiplies {', '.join(names) or 'weights'} is not known"


def _dense_count(uses: int | Tensor, size: int) -> int:
    return uses * size if isinstance(uses, int) else int(uses.sum())


def _remaining(uses: int | Tensor, alive: Tensor) -> int:
    if isinstance(uses, int):
        return uses * int(alive.count_nonzero())
    return int(uses[(alive != 0).cpu()].sum())


def _one_number(uses: int | Tensor) -> int | Tensor:
    if isinstance(uses, int) or not uses.numel():
        return uses
    least, most = (int(value) for value in uses.aminmax())
    return least if least == most else uses


@contextmanager
def _slow_path() -> Iterator[None]:
    """Makes attention and encoder layers of torch.nn call their operators one by one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
