"""One method on one task, as the config describes it; `prepare` makes it ready to run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch

from harness.allocation.base import Allocation
from harness.data.base import Data
from harness.data.calibration import Samples
from harness.distillation.base import Distillation
from harness.distributed import Ranks
from harness.dynamics.base import Dynamics, Exchange
from harness.experiment.runner import Levels
from harness.experiment.validation import check_parts
from harness.experiment.workload import Subject
from harness.finetune.base import Finetune
from harness.models.base import Model
from harness.penalty.base import Penalty
from harness.pruning.part_protocols import check_offers
from harness.pruning.pruner import Pruner
from harness.recalibration.base import Recalibration
from harness.run_folder.stage_keys import Shared
from harness.saliency.base import Saliency
from harness.schedule.base import Schedule
from harness.schedule.shared.steps import Steps
from harness.structure.base import Structure
from harness.task.base import Task
from harness.training.checkpointing import Journal
from harness.training.trainer import Trainer

DTYPES = {"float32": torch.float32, "float64": torch.float64}
WHEN = ("trained", "init", "steps")
WIRE = {None: None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Experiment:
    """One method on one task; every field is a part that conf/ names and main.py builds.

    exclude: layers that are never pruned: "first", "last", or names.
    when: "trained" prunes after dense training, "init" prunes the initial network instead;
        "steps" prunes inside one training, at the events of `steps`.
    rescore_trained: whether "init" may score given weights, or weights again after a level has
        trained them.
    dynamics: what masks do by themselves while the network retrains; None: they hold.
    penalty: a training with a penalty before each pruning, or None.
    recalibration: what is measured anew after each pruning, or None.
    distillation: how retraining learns from the dense network, or None.
    calibration: training samples that a saliency may look at, the same at every level.
    control: a matched control in place of the method's own choice; see harness/pruning/controls.py.
    keep_epochs: epochs of dense training that stay on disk for rewinding.
    dtype: of weights and inputs, float32 or float64.
    weights: file (.safetensors, .pt) whose tensors replace the initial ones, or null.
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
    when: str = "trained"
    rescore_trained: bool = False
    steps: Steps = field(default_factory=Steps)
    dynamics: Dynamics | None = None
    penalty: Penalty | None = None
    recalibration: Recalibration | None = None
    distillation: Distillation | None = None
    calibration: Samples = field(default_factory=Samples)
    control: str = "none"
    keep_epochs: list[int] = field(default_factory=list)
    dtype: str = "float32"
    weights: str | None = None
    sync_batch_norm: bool = False
    gradient_dtype: str | None = None

    def __post_init__(self) -> None:
        check_offers(vars(self))
        check_offers({"exchange": self.exchange})
        self._check_values()
        self._check_flags()
        check_parts(self)
        _ = self.pruner  # refuses a saliency that does not fit the structure

    def _check_values(self) -> None:
        if type(self.seed) is not int:
            raise ValueError(f"seed must be a whole number, got {self.seed!r}")
        for key in ("exclude", "keep_epochs"):
            if not isinstance(getattr(self, key), list | tuple):
                value = getattr(self, key)
                raise ValueError(f"{key} must be a list, got {value!r}; write {key}=[{value}]")
        if self.when not in WHEN:
            raise ValueError(f"when must be {', '.join(WHEN)}, got {self.when!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}")
        if self.gradient_dtype not in WIRE:
            raise ValueError(
                f"gradient_dtype must be null or bfloat16, got {self.gradient_dtype!r}"
            )
        for epoch in self.keep_epochs:
            if not 0 <= epoch <= self.training.epochs:
                raise ValueError(
                    f"keep_epochs names epoch {epoch}, but dense training has epochs 0 to "
                    f"{self.training.epochs}; choose one of them or raise training.epochs"
                )

    def _check_flags(self) -> None:
        for key in ("sync_batch_norm", "rescore_trained"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"{key} must be true or false, got {getattr(self, key)!r}")

    @property
    def starts_trained(self) -> bool:
        """Whether dense training comes before pruning."""
        return self.when == "trained" or (self.when == "steps" and self.steps.start == "trained")

    @property
    def may_grow(self) -> bool:
        """Whether a part has declared that pruned weights may return."""
        return self.schedule.may_grow or (self.dynamics is not None and self.dynamics.may_grow)

    @property
    def releases(self) -> bool:
        """Whether pruned units may recover until the last level."""
        return self.dynamics is not None and self.dynamics.releases

    @property
    def exchange(self) -> Exchange | None:
        """The dynamics, if they update masks at steps of their own."""
        return None if self.releases else cast(Exchange | None, self.dynamics)

    @property
    def pruner(self) -> Pruner:
        return Pruner(self.saliency, self.structure, self.allocation, self.control, self.seed)

    @property
    def rounds(self) -> int:
        """Prunings per level."""
        own = getattr(self.schedule, "rounds", None)
        return own or int(getattr(self.saliency, "rounds", 1))

    def prepare(
        self,
        ranks: Ranks,
        dense: Path,
        journal: Journal | None = None,
        shared: Shared | None = None,
    ) -> Levels:
        """Loads the data, builds the network and checks all that can be checked before training.

        dense: folder of this dense training's cache; nothing is written yet. journal: None if
        nothing shall be saved on the way.

        Raises:
            ValueError: data, model, target, batch size or calibration do not fit each other.
        """
        for recipe in (self.training, self.retraining):
            recipe.check_ranks(ranks)
        dtype = DTYPES[self.dtype]
        splits = self.data.load().to(ranks.device, dtype)
        subject = Subject(
            model=self.model,
            splits=splits,
            task=self.task,
            ranks=ranks,
            seed=self.seed,
            dtype=dtype,
            weights=self.weights,
            sync_batch_norm=self.sync_batch_norm,
            gradient_dtype=WIRE[self.gradient_dtype],
        )
        subject.check_labels()
        subject.chosen(self.calibration)  # refuses too few samples
        for recipe in (self.training, self.retraining):
            subject.check_smallest_batch(recipe.batch_size, recipe.accumulate)
            recipe.check_inputs(subject.sample())
        return Levels(self, subject, dense, journal, shared)
