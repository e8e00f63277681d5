"""Finds first and last layers, and weights that a pass uses in another form."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.groups.tracing.traceable import traceable, writable
from harness.pruning.graph.operator_call import OperatorCall
from harness.pruning.graph.parameter_tensors import EMPTY, MOVES, ParameterTensors
from harness.pruning.graph.tensor_keys import storage_key
from harness.vocabulary.given.inputs import Inputs, call_model, input_tensors, map_inputs
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import fixed_mode

INPUT = "the model's input"  # among the feeders of a layer


@dataclass(frozen=True)
class Graph:
    """Holds how the layers of a model are connected.

    order: weights in the order in which a forward pass multiplies by them first. A weight that
    several layers share appears once. They are parameters of two dimensions or more, of layers of
    any kind.
    first: weights that read nothing but the model's input.
    outputs: weights of the last layers, whose units are model outputs, or are added into them.
    computed: weights that are used in a form in which a pruned one is alive, with the operator that
    made that form.
    """

    order: tuple[str, ...]
    first: frozenset[str]
    outputs: frozenset[str]
    computed: Mapping[str, str]


def graph_of(model: nn.Module, sample: Inputs, training: bool = False) -> Graph:
    """Reads the graph from one forward pass; the model comes back as it was.

    Works on any model that runs forward, control flow included;
    what another pass would call and this one does not is not in it.
    training: in training mode, not in eval mode.

    Below autograd, so that what runs without gradients (a reentrant checkpoint, a custom function)
    is seen too.
    """
    recorder = _Recorder(model, sample)
    with traceable(model), fixed_mode(model, training), recorder:
        outputs = call_model(model, recorder.sample)
    uses = recorder.feeders_of
    last = frozenset[str]().union(*(recorder.feeders(t) for t in iter_tensors(outputs)))
    return Graph(
        order=tuple(uses),
        first=frozenset(name for name, feeders in uses.items() if feeders == {INPUT}),
        outputs=last - {INPUT},
        computed=recorder.computed,
    )


class _Recorder(TorchDispatchMode):
    """Records which layers each tensor of the pass comes from, operator by operator.

    feeders_of: weight -> what the products with it read, in the order of first use.
    computed: as in the graph.
    """

    def __init__(self, model: nn.Module, sample: Inputs):
        super().__init__()  # type: ignore[no-untyped-call]
        self.feeders_of: dict[str, frozenset[str]] = {}
        self.computed: dict[str, str] = {}
        self.sample = map_inputs(writable, sample)
        self._parameters = ParameterTensors(model)
        self._feeders = {storage_key(t): frozenset([INPUT]) for t in input_tensors(self.sample)}
        # Alive, or their storages would be given to others.
        self._alive: list[torch.UntypedStorage] = []

    def feeders(self, tensor: Tensor) -> frozenset[str]:
        """Returns the layers, or the input, that reach the tensor without another layer between."""
        return self._feeders.get(storage_key(tensor), EMPTY)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        call = OperatorCall(func, args, kwargs or {})
        read = EMPTY.union(*(self.feeders(tensor) for tensor in call.tensors()))
        outs = func(*args, **(kwargs or {}))
        results = list(iter_tensors(outs))
        self._alive += [t.untyped_storage() for t in results if t.layout == torch.strided]
        if read:
            self._note(call, read, results)
        else:
            self._parameters.record(call, results)
        return outs

    def _note(self, call: OperatorCall, read: frozenset[str], outs: list[Tensor]) -> None:
        if call.creates or not outs:
            return
        own = [t for t in call.tensors() if not self.feeders(t) and self._parameters.names(t)]
        names = sorted(EMPTY.union(*map(self._parameters.names, own)))
        weights = [name for name in names if self._parameters.dims[name] > 1]
        if weights and not (call.pointwise or _passes(call.name)):
            self._note_computed(own)
            for weight in weights:
                self.feeders_of[weight] = self.feeders_of.get(weight, EMPTY) | read
            read = frozenset(weights)
        elif call.pointwise and read != {INPUT}:
            self._note_computed(own)
        for out in outs:
            if out.layout == torch.strided:
                # What was written into a part of a tensor is in it beside what was there.
                self._feeders[storage_key(out)] = self.feeders(out) | read

    def _note_computed(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self.computed |= self._parameters.changed(tensor)


def _passes(name: str) -> bool:
    """True for operators that keep layers visible although a parameter may enter too."""
    return name in MOVES or any(kind in name for kind in ("norm", "attention", "embedding"))
