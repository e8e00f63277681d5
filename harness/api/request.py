"""Reads the arguments of one call of the Python API: parts, data, and counts per tensor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.allocation.base import Allocation, LayerOrder, Layers, ModelInfo
from harness.api.given_data import Copies, counted, cross_entropy, labels_of_samples
from harness.groups.units import Units
from harness.metrics.macs import count_macs
from harness.pruning.coverage import check_not_recomputed, warn_unseen, warn_untied_head
from harness.pruning.graph.graph import Graph, graph_of
from harness.pruning.prunable import exclude_layers, layer_order_of, layers_known_to, units_of
from harness.pruning.pruner import Pruner
from harness.pruning.reader import Calibration
from harness.saliency.shared.gradient_statistics import explain_dtype_errors
from harness.task.base import IGNORED
from harness.task.shared.sums import check_sums
from harness.vocabulary import tensors
from harness.vocabulary.apportion import apportion
from harness.vocabulary.given.batches import explain_input_errors, kind_of
from harness.vocabulary.given.inputs import (
    Inputs,
    first_samples,
    floats_to,
    input_tensors,
    map_inputs,
)


@dataclass(frozen=True)
class FixedCounts(Allocation):
    """keep(layer) = the given count, or the alive units of a layer without a given count.

    While more than the sum of these counts has to stay, the surplus is shared in proportion to
    alive - count.
    """

    counts: tensors.Counts = field(default_factory=dict)

    def distribute(self, layers: Layers, keep: int) -> tensors.Counts:
        alive = {name: layer.alive for name, layer in layers.items()}
        requested = {name: self.counts.get(name, count) for name, count in alive.items()}
        room = {name: alive[name] - count for name, count in requested.items()}
        more = apportion(max(0, keep - sum(requested.values())), room, room)
        return {name: count + more[name] for name, count in requested.items()}


@dataclass(frozen=True)
class Request:
    """Holds the arguments that `score` and `prune` have in common."""

    pruner: Pruner
    batches: list[tensors.Batch]
    loss: tensors.Loss | None
    mean: tensors.Mean
    example_input: Inputs | None
    exclude: str | Sequence[str]

    def units(self, model: nn.Module) -> Units:
        structure, sample = self.pruner.structure, self._sample(model)
        if sample is None and structure.reads_sample:
            raise ValueError(
                f"structure {type(structure).__name__} runs the model to find the layers that read "
                "its units; give example_input, a batch of inputs, or batches"
            )
        graph = self._graph(model)
        # A structure that does not read the sample gets any tensor.
        units = units_of(structure, model, _first(model) if sample is None else sample, graph)
        layer_order, known_layers = layer_order_of(model, graph), layers_known_to(structure, model)
        exclude = [self.exclude] if isinstance(self.exclude, str) else [*(self.exclude or ())]
        included = exclude_layers(units, exclude, layer_order, known_layers)
        structure.check(model, included)
        if graph is None:
            warn_unseen(included, model)
        else:
            check_not_recomputed(included, graph)
            warn_untied_head(included, model, graph)
        return included

    def model_info(self, model: nn.Module) -> ModelInfo:
        if self.pruner.allocation.needs_curves:
            name = type(self.pruner.allocation).__name__
            raise ValueError(
                f"allocation {name} needs curves measured on validation data, which only a run "
                "has; run pruning-harness allocation=sensitivity"
            )
        layer_order, sample = layer_order_of(model, self._graph(model)), self._sample(model)
        if self.pruner.allocation.needs_layer_order:
            self._check_layer_order(layer_order)
        if self.pruner.allocation.needs_latency:
            raise ValueError(
                "allocation.per=latency reads a latency table, which only a run has; run "
                "pruning-harness latency_table=FILE, or use per=mac"
            )
        if self.pruner.budget != "macs" and not self.pruner.allocation.needs_macs:
            return ModelInfo(layer_order=layer_order)
        if sample is None:
            raise ValueError('an allocation by "mac" runs the model; give example_input or batches')
        macs = count_macs(model, map_inputs(torch.zeros_like, first_samples(sample, 1)))
        return ModelInfo(macs.weights, macs.activations, macs.uncounted, layer_order=layer_order)

    def _check_layer_order(self, layer_order: LayerOrder | None) -> None:
        needs = (
            f"allocation {type(self.pruner.allocation).__name__} needs the first and last layers"
        )
        if layer_order is None:
            raise ValueError(
                f"{needs}, which are found by running the model; give example_input, a batch "
                "of inputs, or batches"
            )
        if not layer_order.last:
            raise ValueError(
                f"{needs}, but no tensor of the model's outputs comes from a layer (the "
                "outputs are another object, numbers, or computed outside torch); let the model "
                "return tensors"
            )

    def data(self, model: nn.Module) -> Calibration:
        device = _first(model).device
        by_sample, as_given = labels_of_samples(self.batches)
        rows = [counted(inputs, labels) for inputs, labels in by_sample]
        batches = [(_like(model, x), y.to(device)) for x, y in rows if len(y)]
        if any(bool(t.isnan().any()) for inputs, _ in batches for t in input_tensors(inputs)):
            raise ValueError("inputs of batches hold NaN; clean them, or leave these samples out")
        loss = self.loss or cross_entropy

        def total(outputs: Any, labels: Tensor) -> Tensor:
            return loss(outputs, as_given(labels))

        if self.loss:
            check_sums(lambda outputs, y: {"loss": total(outputs, y)}, model, batches)
        return Calibration(Copies(batches), total, self._mean)

    def _graph(self, model: nn.Module) -> Graph | None:
        sample = self._sample(model)
        return None if sample is None else graph_of(model, sample)

    @contextmanager
    def explain_errors(self, model: nn.Module, wide: nn.Module) -> Iterator[None]:
        """Replaces torch's errors about dtypes and ids by ones that name the argument."""
        given = self._given_input()
        source = "batches" if self.example_input is None else "example_input"
        with explain_dtype_errors(model, wide), explain_input_errors(f"inputs of {source}", given):
            yield

    def _given_input(self) -> Inputs | None:
        given: Any = self.example_input
        if given is None:
            return self.batches[0][0] if self.batches else None
        parts = list(given.values()) if isinstance(given, Mapping) else [given]
        tensors_with_values = [
            part
            for part in parts
            if isinstance(part, Tensor) and not part.is_meta and part.ndim and part.numel()
        ]
        if not parts or len(tensors_with_values) < len(parts):
            raise ValueError(
                "example_input must be a tensor with values, (samples, ...), or a dictionary of "
                f"them, got {kind_of(given)}"
            )
        return dict(given) if isinstance(given, Mapping) else parts[0]

    def _sample(self, model: nn.Module) -> Inputs | None:
        given = self._given_input()
        return None if given is None else _like(model, given)

    def _mean(self, sums: tensors.Tensors, samples: int) -> tensors.Tensors:
        if self.mean is tensors.local_mean and samples == 0:
            raise ValueError(
                f"saliency {type(self.pruner.saliency).__name__} needs data: give batches, a list "
                f"of (inputs, labels) with labels that count (not {IGNORED})"
            )
        return self.mean(sums, samples)


def _first(model: nn.Module) -> Tensor:
    return next(iter(tensors.prunable_weights(model).values()))


def _like(model: nn.Module, inputs: Inputs) -> Inputs:
    """Moves inputs to the model's device, and floating-point inputs to the model's dtype."""
    first = _first(model)
    return map_inputs(lambda t: t.to(first.device), floats_to(inputs, first.dtype))
