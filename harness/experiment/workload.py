"""Holds model, data and task of a run, on one device, with all randomness from one seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.data.base import Splits, first_inputs
from harness.data.calibration import Samples
from harness.distributed import Ranks
from harness.distributed.batch_norm import convert_batch_norm
from harness.metrics.connectivity import connectivity
from harness.metrics.macs import Macs, count_macs
from harness.metrics.size import layer_densities, nonzero_fraction, parameters_left, ratio
from harness.model_state.usable import check_usable
from harness.model_state.whole_state import whole_state
from harness.models.base import Model, weights_file
from harness.pruning.density import Scope
from harness.pruning.reader import Calibration
from harness.task.base import Task, primary_of
from harness.task.shared.measures import Measure
from harness.training.batches.batching import epoch_order
from harness.training.context import TrainingContext
from harness.training.evaluation import EvaluationResult, evaluate, evaluate_compared
from harness.training.pretrained import load_weights
from harness.training.state_files import build_seeded
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import Inputs, first_samples, map_inputs
from harness.vocabulary.seeds import derive
from harness.vocabulary.tensors import Tensors, prunable_weights


class DenseShaped(NamedTuple):
    """Holds a run's model and its masks in the shapes of the dense model."""

    model: nn.Module
    masks: Tensors


@dataclass(frozen=True)
class Workload:
    """Holds model, data, task and seed of a run on one device.

    Args:
        weights: file whose tensors replace the initial random ones, "pretrained", or None.
        weights_skip: as in ExperimentConfig.
        sync_batch_norm: as in ExperimentConfig.
        gradient_dtype: as in ExperimentConfig.
    """

    model: Model
    splits: Splits
    task: Task
    ranks: Ranks
    seed: int
    dtype: torch.dtype
    weights: str | None = None
    weights_skip: Sequence[str] = ()
    sync_batch_norm: bool = False
    gradient_dtype: torch.dtype | None = None

    def initial_model(self) -> nn.Module:
        """Returns the model before any training.

        Raises:
            ValueError: the model cannot take the data, or the weights file is not the model's.
        """
        model = self._build(derive(self.seed, "init"))
        if self.weights is not None:
            load_weights(model, weights_file(self.weights, self.model), self.weights_skip)
        return model

    def random_state(self, level: int) -> Tensors:
        """Returns the state of a new random model, another one at every level."""
        return whole_state(self._build(derive(self.seed, "reinit", level)))

    def training_context(self, level: int | str) -> TrainingContext:
        return TrainingContext(
            self.splits.train,
            self.task,
            self.ranks,
            self.seed,
            level,
            self.gradient_dtype,
            self.splits.validation,
            self.splits.test,
        )

    def sample(self) -> Inputs:
        """Returns inputs (2, ...) to trace the model with."""
        return first_inputs(self.splits.train, 2)

    def calibration(self, samples: Samples | None, batch_size: int) -> Calibration:
        """Returns this rank's shard of the calibration samples: the same samples every time.

        samples: None gives every rank one sample, for a saliency that reads its shape at most.
        """
        indices = torch.arange(1)
        if samples is not None:
            indices = self.ranks.shard(self.calibration_indices(samples))
        batches = self.splits.train.batches(indices.split(batch_size))
        non_empty = [batch for batch in batches if len(batch[1])]
        return Calibration(non_empty, self.task.loss, self.ranks.mean, self.ranks.check_digests)

    def calibration_indices(self, samples: Samples) -> Tensor:
        """Returns the indices of the calibration samples, on all ranks.

        Raises:
            ValueError: there are too few samples.
        """
        sample_weights = self.training_context(0).sample_weights
        return samples.indices(self.splits.train, self.splits.classes, self.seed, sample_weights)

    def batch_of(self, samples: int) -> Inputs:
        """Returns one batch of so many training inputs; the first ones again where there are fewer.

        It stands for any inputs of this shape in a measurement of time or memory.
        """
        indices = torch.arange(samples, device=self.ranks.device) % len(self.splits.train)
        return next(iter(self.splits.train.batches([indices])))[0]

    def inputs(self, samples: int, batch_size: int, purpose: str) -> Iterator[Inputs]:
        """Returns batches of at most `samples` training inputs, the same on every rank."""
        order = epoch_order(len(self.splits.train), self.seed, purpose, 0)
        indices = order[:samples].to(self.ranks.device)
        return (inputs for inputs, _ in self.splits.train.batches(indices.split(batch_size)))

    def validation(self, model: nn.Module) -> EvaluationResult:
        return evaluate(model, self.splits.validation, self.task, self.ranks)

    def macs(self, model: nn.Module) -> Macs:
        """Counts multiply-accumulates, which follow from shapes, not from weights."""
        return count_macs(model, map_inputs(torch.zeros_like, first_samples(self.sample(), 1)))

    def measure(
        self,
        model: nn.Module,
        dense: DenseShaped,
        macs: Macs,
        scope: Scope,
        activations: int,
    ) -> dict[str, object]:
        """Returns the size and accuracy of the model, by the record's field names.

        Args:
            model: the model to measure.
            dense: the same model and its masks in dense shapes.
            macs: of the dense model, whatever is pruned.
            scope: what densities refer to.
            activations: multiply-accumulates that are left of products of two activations.

        Raises:
            PrunedWeightAlive: a weight is not 0 where its mask says that it is pruned.
        """
        test = evaluate(model, self.splits.test, self.task, self.ranks)
        validation = evaluate_compared(model, self.splits.validation, self.task, self.ranks)
        expanded, masks = dense
        weights = prunable_weights(expanded)
        parameters = parameters_left(expanded, masks)
        macs_left = None if macs.uncounted else macs.remaining(weights, activations)
        return {
            "density": scope.density(weights),
            "density_of_masks": scope.density(masks),
            "density_of_weights": nonzero_fraction(weights),
            "density_of": scope.describe(),
            "layers": layer_densities(weights),
            **self._connected(expanded),
            "compression": ratio(parameters_left(expanded, {}), parameters),
            "speedup": None if macs_left is None else ratio(macs.dense, macs_left),
            "parameters": parameters,
            "macs": macs_left,
            "uncounted_operators": macs.uncounted,
            **_measured(test, validation, primary_of(self.task)),
            "batch_norm": self._batch_norm(model),
        }

    def _connected(self, model: nn.Module) -> dict[str, object]:
        connected = connectivity(model, self.sample())
        return {
            "effective_density": connected.effective_density,
            "empty_layers": connected.empty,
            "dead_units": connected.dead_units,
            "effective_density_unknown": connected.unknown,
        }

    def _build(self, seed: int) -> nn.Module:
        shape, classes = self.splits.shape, self.splits.classes
        try:
            model = build_seeded(lambda: self.model.build(shape, classes), seed)
        except (LookupError, TypeError) as error:
            if not isinstance(shape, dict):
                raise
            raise ValueError(
                f"build of model {type(self.model).__name__} fails on the shapes of the inputs "
                f"{', '.join(shape)} ({type(error).__name__}: {first_line(error)}); it gets a "
                "dictionary of shapes by name"
            ) from error
        check_usable(model, f"what build of model {type(self.model).__name__} returns")
        model = model.to(self.ranks.device, self.dtype)
        whole_state(model)  # what no file can hold is refused before any training
        return convert_batch_norm(model, self.ranks) if self.sync_batch_norm else model

    def _batch_norm(self, model: nn.Module) -> str:
        if not any(isinstance(module, _BatchNorm) for module in model.modules()):
            return "none"
        return "all_ranks" if self.sync_batch_norm else "per_rank"


def _measured(
    test: EvaluationResult, validation: EvaluationResult, primary: Measure
) -> dict[str, object]:
    """Returns the measures on test and validation data, by the record's field names."""
    return {
        "top1": test.top1,
        "top5": test.top5,
        "loss": test.loss,
        "perplexity": test.perplexity,
        "measures": test.measures,
        "validation_top1": validation.top1,
        "validation_loss": validation.loss,
        "validation_measures": validation.measures,
        "measure": primary.name,
        "measure_title": primary.title,
        "measure_is_fraction": primary.is_fraction,
        "higher_is_better": primary.higher_is_better,
    }
