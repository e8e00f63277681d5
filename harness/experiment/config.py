"""Defines the parts and values of an experiment, as the config names them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, cast

import torch

from harness.allocation.base import Allocation
from harness.data.base import Data
from harness.data.calibration import Samples
from harness.distillation.base import Distillation
from harness.finetune.base import Finetune
from harness.mask_updates.base import MaskUpdater, MaskUpdates
from harness.models.base import Model
from harness.penalty.base import Penalty
from harness.pruning.controls import Control
from harness.pruning.pruner import Pruner
from harness.pruning.pruning_order import PruningOrder
from harness.recalibration.base import Recalibration
from harness.saliency.base import Saliency
from harness.schedule.base import Schedule
from harness.schedule.shared.gradual import Gradual
from harness.structure.base import Structure
from harness.task.base import Task
from harness.training.recipe_presets import ResolvedRecipe, resolve_recipe
from harness.training.trainer import Trainer
from harness.vocabulary.checks import check_declared

DTYPES = {"float32": torch.float32, "float64": torch.float64}
WIRE = {None: None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class ExperimentConfig:
    """Holds one method on one task; every field is a key of conf/, built by harness/launch.

    Args:
        exclude: layers that are never pruned: "first", "last", or names.
        prune_at: "after_training" prunes after dense training, "init" prunes the initial model,
            "during_training" prunes inside one training, at the events of `gradual`.
        rescore_trained: "init" may score given weights, or weights again after a level has trained.
        mask_updates: changes masks while the model retrains; None keeps masks fixed.
        penalty: a training with a penalty before each pruning, or None.
        recalibration: measures statistics anew after each pruning, or None.
        distillation: trains on outputs of the dense model while retraining, or None.
        pruning_order: parts of the model that are pruned one after the other, or None.
        compact: when pruned units are removed: "levels" after each pruning, so that the smaller
            model is retrained; "end" once, beside the masked model; "never".
        calibration: training samples that a saliency may read, the same at every level.
        control: a matched control in place of the method's masks; see harness/pruning/controls.py.
        dense_checkpoints: epochs of dense training that stay on disk for rewinding.
        dtype: of weights and inputs, float32 or float64.
        weights: file (.safetensors, .pt) whose tensors replace the initial ones, "pretrained" for
            those of the model's library, or null.
        latency_table: file of milliseconds per layer, which `pruning-harness latency` writes, or
            null.
        weights_skip: modules or tensors of it that stay as initialised, such as another head.
        sync_batch_norm: BatchNorm takes its statistics over the samples of all ranks.
        gradient_dtype: gradients are rounded to it before ranks sum them: bfloat16, or null.

    Raises:
        ValueError: a value is out of range, or two parts do not fit.
    """

    seed: int
    model: Model
    data: Data
    task: Task
    training: Trainer
    retraining: Trainer
    saliency: Saliency
    structure: Structure
    allocation: Allocation
    schedule: Schedule
    finetune: Finetune
    exclude: list[str] = field(default_factory=list)
    prune_at: Literal["after_training", "init", "during_training"] = "after_training"
    rescore_trained: bool = False
    gradual: Gradual = field(default_factory=Gradual)
    mask_updates: MaskUpdates | None = None
    penalty: Penalty | None = None
    recalibration: Recalibration | None = None
    distillation: Distillation | None = None
    pruning_order: PruningOrder | None = None
    compact: Literal["never", "end", "levels"] = "never"
    calibration: Samples = field(default_factory=Samples)
    control: Control = "none"
    dense_checkpoints: list[Annotated[int, "a whole number >= 0"]] = field(default_factory=list)
    dtype: Literal["float32", "float64"] = "float32"
    weights: str | None = None
    weights_skip: list[str] = field(default_factory=list)
    latency_table: str | None = None
    sync_batch_norm: bool = False
    gradient_dtype: Literal["bfloat16"] | None = None

    def check_values(self) -> None:
        check_declared(self)
        if self.weights_skip and self.weights is None:
            raise ValueError(
                f"weights_skip={[*self.weights_skip]} needs weights; give weights=FILE, or leave "
                "it out"
            )
        for epoch in self.dense_checkpoints:
            if not 0 <= epoch <= self.training.epochs:
                raise ValueError(
                    f"dense_checkpoints names epoch {epoch}, but dense training has epochs 0 to "
                    f"{self.training.epochs}; choose one of them or raise training.epochs"
                )

    @property
    def starts_trained(self) -> bool:
        """True if dense training comes before pruning."""
        return self.prune_at == "after_training" or (
            self.prune_at == "during_training" and self.gradual.start_from == "trained"
        )

    @property
    def may_grow(self) -> bool:
        """True if a part may revive pruned weights."""
        return self.schedule.may_grow or (
            self.mask_updates is not None and self.mask_updates.may_grow
        )

    @property
    def unmasks_between_levels(self) -> bool:
        """True if pruned units may recover until the last level."""
        return self.mask_updates is not None and self.mask_updates.unmasks_between_levels

    @property
    def mask_updater(self) -> MaskUpdater | None:
        """Returns the mask updates, if they update masks at steps of their own."""
        return None if self.unmasks_between_levels else cast(MaskUpdater | None, self.mask_updates)

    @property
    def pruner(self) -> Pruner:
        return Pruner(self.saliency, self.structure, self.allocation, self.control, self.seed)

    @property
    def calibration_samples(self) -> Samples | None:
        """Returns the samples that the saliency or the pruning order reads; None reads none."""
        has_reader = self.pruner.saliency.reads_samples or self.pruning_order is not None
        return self.calibration if has_reader else None

    @property
    def rounds(self) -> int:
        """Returns the number of prunings per level."""
        return self.schedule.rounds or self.pruner.saliency.rounds

    def next_recipe(self, speedup: float, samples: int) -> ResolvedRecipe | None:
        """Returns the recipe of retraining at this speed-up, or None for no retraining.

        speedup: dense / pruned multiply-accumulates. samples: the number of training samples.
        """
        plan = self.finetune.plan(self.training.epochs, speedup)
        if plan is None:
            return None
        recipe = resolve_recipe(plan, self.training, self.retraining)
        return recipe, plan.begin.normalized(recipe.steps_per_epoch(samples))
