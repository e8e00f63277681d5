"""The experiment, top to bottom: dense training; then per level prune, measure, retrain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.allocation.base import Allocation
from harness.data.base import Data
from harness.distributed import Ranks
from harness.finetune.base import Finetune
from harness.masks import MaskStore
from harness.models.base import Model
from harness.parts import check_offers
from harness.pruning import Goal, Pruner, without
from harness.records import Identity, Record, Watcher
from harness.saliency.base import Saliency
from harness.schedule.base import Schedule
from harness.structure.base import Structure
from harness.subject import Subject
from harness.task.base import Task
from harness.tensors import Tensors, load_into
from harness.training.dense import DenseTraining
from harness.training.trainer import Hooks, Trainer

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Experiment:
    """One method on one task; every field is a part that conf/ names and main.py builds.

    exclude: layers that are never pruned: "first", "last", or names.
    when: "trained" prunes after dense training, "init" prunes the initial network instead.
    calibration_samples: training samples that a saliency may look at, the same at every level.
    keep_epochs: epochs of dense training that stay on disk for rewinding.
    dtype: of weights and inputs, float32 or float64.
    weights: file (.safetensors, .pt) whose tensors replace the initial ones, or null.

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
    calibration_samples: int = 512
    keep_epochs: list[int] = field(default_factory=list)
    dtype: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
        check_offers(vars(self))
        for key in ("seed", "calibration_samples"):
            if type(getattr(self, key)) is not int:
                raise ValueError(f"{key} must be a whole number, got {getattr(self, key)!r}")
        for key in ("exclude", "keep_epochs"):
            if not isinstance(getattr(self, key), list | tuple):
                value = getattr(self, key)
                raise ValueError(f"{key} must be a list, got {value!r}; write {key}=[{value}]")
        if self.when not in ("trained", "init"):
            raise ValueError(f"when must be trained or init, got {self.when!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {self.dtype!r}")
        if self.calibration_samples < 1:
            raise ValueError(
                f"calibration_samples must be at least 1, got {self.calibration_samples}: "
                "an empty calibration set has no gradients"
            )
        self._check_epochs()
        _ = self.pruner  # refuses a saliency that does not fit the structure

    def _check_epochs(self) -> None:
        last = self.training.epochs
        for key, epochs in (("keep_epochs", self.keep_epochs), ("finetune", self._rewinds)):
            beyond = [epoch for epoch in epochs if not 0 <= epoch <= last]
            if beyond:
                raise ValueError(
                    f"{key} names epoch {beyond[0]}, but dense training has epochs 0 to {last}; "
                    "choose one of them or raise training.epochs"
                )
        if self.when == "init" and any(self._rewinds):
            raise ValueError(
                f"when=init prunes before any training, so finetune cannot rewind to epoch "
                f"{max(self._rewinds)}; use finetune=keep, or when=trained"
            )

    @property
    def _rewinds(self) -> tuple[int, ...]:
        return self.finetune.dense_epochs

    @property
    def pruner(self) -> Pruner:
        return Pruner(self.saliency, self.structure, self.allocation)

    def prepare(self, ranks: Ranks, dense: Path) -> "Levels":
        """Loads the data, builds the network and checks all that can be checked before training.

        dense: folder of this dense training's cache; nothing is written yet.

        Raises:
            ValueError: data, model, target, batch size or calibration do not fit each other.
        """
        for recipe in (self.training, self.retraining):
            recipe.check_ranks(ranks)
        dtype = DTYPES[self.dtype]
        splits = self.data.load().to(ranks.device, dtype)
        if self.calibration_samples > len(splits.train):
            raise ValueError(
                f"calibration_samples={self.calibration_samples}, but there are only "
                f"{len(splits.train)} training samples; ask for at most as many"
            )
        subject = Subject(self.model, splits, self.task, ranks, self.seed, dtype, self.weights)
        for recipe in (self.training, self.retraining):
            subject.check_smallest_batch(recipe.batch_size, recipe.accumulate)
        return Levels(self, subject, dense)


class Levels:
    """One run under way: the network, its masks, and the levels that they go through."""

    def __init__(self, what: Experiment, subject: Subject, dense: Path):
        self.what, self.subject, self.ranks = what, subject, subject.ranks
        self.network = subject.initial()
        units = what.structure.units(self.network, subject.sample())
        self.units = without(units, what.exclude)
        prunable = {name for weight, along in self.units.items() for name in (weight, *along)}
        self.store = MaskStore(
            {name: p for name, p in self.network.named_parameters() if name in prunable}
        )
        self.accounts = {
            unit: what.pruner.account(unit, self.network, self.units)
            for unit in ("density", "compression")
        }
        self.account = self.accounts[what.schedule.unit]
        # Before any training: a target that this model cannot reach fails here.
        self.shares = what.schedule.shares(self.account.share_of)
        self.dense = DenseTraining(
            dense, what.training, subject.setting(0), subject.initial, what.keep_epochs
        )

    def run(self, identity: Identity, watcher: Watcher) -> tuple[nn.Module, Tensors]:
        """Runs every level, records each stage, and returns the pruned network and its masks."""
        self.identity, self.watcher = identity, watcher
        watcher.begin(len(self.shares), self._epochs_to_train())
        self._begin()
        for level, share in enumerate(self.shares, start=1):
            self._prune(level, share)
            self._retrain(level, share)
        return self.network, self.store.masks

    def _begin(self) -> None:
        if self.what.when == "init":
            self._record(0, "initial", 1.0)
            return
        epochs = self.what.training.epochs
        load_into(self.network, self.dense.at(epochs, self._on_epoch(0, epochs)))
        self._record(0, "dense", 1.0, self.what.training, epochs)

    def _prune(self, level: int, share: float) -> None:
        goal = Goal(round(share * self.account.removable), self.account.unit)
        calibration = self.subject.calibration(
            self.what.calibration_samples, self.what.training.batch_size
        )
        masks = self.what.pruner.masks(self.network, self.store, self.units, goal, calibration)
        self.store.shrink_to(self.ranks.agree(masks))
        self.store.apply_to(self.network)
        self._record(level, "pruned", share)

    def _retrain(self, level: int, share: float) -> None:
        start = self.what.finetune.start(self.dense.at, lambda: self.subject.fresh(level))
        if start is None:
            return
        if start.weights is not None:
            load_into(self.network, start.weights)
        self.store.apply_to(self.network)
        recipe: Trainer = getattr(self.what, start.recipe)
        epochs = recipe.epochs - start.first_epoch
        on_epoch = self._on_epoch(level, epochs)
        hooks = Hooks(
            after_backward=self.store.gradient_masker(self.network),
            epoch_end=lambda done: on_epoch(done - start.first_epoch, self.network),
        )
        recipe.fit(self.network, self.subject.setting(level), hooks, start.first_epoch)
        self._record(level, "finetuned", share, recipe, epochs)

    def _record(
        self,
        level: int,
        stage: str,
        share: float,
        recipe: Trainer | None = None,
        epochs: int = 0,
    ) -> None:
        # Before measuring: a rank that finds a live pruned weight would leave the others waiting.
        self.ranks.check_equal(self.store.masks, "masks in force")
        measured: dict[str, Any] = self.subject.measure(self.network, self.store.masks)
        self.watcher.log(
            Record(
                **vars(self.identity),
                **measured,
                seed=self.what.seed,
                level=level,
                stage=stage,
                # 16.000000000000004 in a table would be noise of the way there and back.
                target_density=round(self.accounts["density"].asked_of(share), 9),
                target_compression=round(self.accounts["compression"].asked_of(share), 9),
                epochs=epochs,
                steps=recipe.steps(len(self.subject.splits.train), epochs) if recipe else 0,
                masks=self.store.digest if level else "",
            )
        )

    def _epochs_to_train(self) -> int:
        dense = self.what.training.epochs
        if self.what.when == "init" or self.dense.has(dense):
            dense = 0
        start = self.what.finetune.start(lambda epoch: {}, dict)
        if start is None:
            return dense
        recipe: Trainer = getattr(self.what, start.recipe)
        return dense + len(self.shares) * (recipe.epochs - start.first_epoch)

    def _on_epoch(self, level: int, epochs: int) -> Callable[[int, nn.Module], None]:
        def on_epoch(done: int, network: nn.Module) -> None:
            follow = self.watcher.follows_epochs
            accuracy = self.subject.validation_top1(network) if follow else None
            self.watcher.epoch(level, done, epochs, accuracy)

        return on_epoch
