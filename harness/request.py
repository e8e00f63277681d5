"""What one call of the Python API is given: parts, data, and counts per tensor."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from harness.allocation.apportion import apportion
from harness.allocation.base import Allocation, Facts, Layers
from harness.metrics.macs import layer_macs
from harness.pruning import Calibration, Pruner
from harness.structure.base import Units
from harness.tensors import Batch, Counts, Loss, Mean, Tensors, mean_alone, prunable_weights


@dataclass(frozen=True)
class Given(Allocation):
    """The counts that were asked for; on the way there, and without one, what is alive."""

    counts: Counts = field(default_factory=dict)

    def share(self, layers: Layers, keep: int) -> Counts:
        alive = {name: layer.alive for name, layer in layers.items()}
        asked = {name: self.counts.get(name, count) for name, count in alive.items()}
        room = {name: alive[name] - count for name, count in asked.items()}
        more = apportion(max(0, keep - sum(asked.values())), room, room)
        return {name: count + more[name] for name, count in asked.items()}


@dataclass(frozen=True)
class Request:
    """What `score` and `prune` are asked with."""

    pruner: Pruner
    batches: list[Batch]
    loss: Loss | None
    mean: Mean

    def sample(self, example_input: Tensor | None) -> Tensor | None:
        return self.batches[0][0] if example_input is None and self.batches else example_input

    def units(self, model: nn.Module, example_input: Tensor | None) -> Units:
        structure, sample = self.pruner.structure, self.sample(example_input)
        if sample is None and structure.granularity == "unit":
            raise ValueError(
                f"structure {type(structure).__name__} runs the model to see what its units feed; "
                "give example_input, a batch of inputs, or batches"
            )
        # A structure of single weights does not look at the sample.
        first = next(iter(prunable_weights(model).values()))
        return structure.units(model, first if sample is None else sample.to(first.device))

    def facts(self, model: nn.Module, example_input: Tensor | None) -> Facts:
        if self.pruner.budget != "macs":
            return Facts()
        sample = self.sample(example_input)
        if sample is None:
            raise ValueError('budget="macs" runs the model once; give example_input or batches')
        return Facts(layer_macs(model, tuple(sample.shape[1:]), whole=True))

    def data(self, model: nn.Module) -> Calibration:
        device = next(iter(prunable_weights(model).values())).device
        batches = [(inputs.to(device), labels.to(device)) for inputs, labels in self.batches]
        return Calibration(batches, self.loss or _cross_entropy, self._mean)

    def _mean(self, sums: Tensors, samples: int) -> Tensors:
        if self.mean is mean_alone and samples == 0:
            raise ValueError(
                f"saliency {type(self.pruner.saliency).__name__} needs data: give batches, a list "
                "of (inputs, labels)"
            )
        return self.mean(sums, samples)


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(outputs, labels, reduction="sum")
