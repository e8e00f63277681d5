"""The experiment, top to bottom: dense training; then per level prune, measure, retrain."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from harness.allocation.base import Allocation
from harness.data.base import Data, Splits
from harness.distributed import Ranks
from harness.finetune.base import Finetune
from harness.masks import MaskStore
from harness.metrics.macs import macs
from harness.metrics.size import density, layer_densities, parameters_left, ratio
from harness.models.base import Model
from harness.pruning import Calibration, Goal, Pruner
from harness.records import Record
from harness.saliency.base import Saliency
from harness.schedule.base import Schedule
from harness.seeds import derive
from harness.structure.base import Structure
from harness.task.base import Task
from harness.tensors import Tensors, load_into, prunable_weights
from harness.training.dense import DenseTraining, build_seeded, load_weights
from harness.training.evaluation import evaluate
from harness.training.order import epoch_order
from harness.training.trainer import Hooks, Setting, Trainer

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Identity:
    """Who a run is, in its records."""

    run: str
    setting: str
    method: str
    label: str
    model: str
    data: str


class Watcher(Protocol):
    """Whatever follows a run: its files, W&B, the progress bar."""

    def begin(self, levels: int, epochs: int) -> None: ...

    def log(self, record: Record) -> None: ...

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None: ...


@dataclass(frozen=True)
class Place:
    """Where a run happens and who watches; nothing here changes a number."""

    ranks: Ranks
    dense: Path  # cache of this dense training
    identity: Identity
    watcher: Watcher
    watch_epochs: bool = False  # measure validation accuracy after every epoch


@dataclass(frozen=True)
class Experiment:
    """One method on one task; every field is a part that conf/ names and main.py builds.

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
    when: str = "trained"
    calibration_samples: int = 512
    keep_epochs: list[int] = field(default_factory=list)
    dtype: str = "float32"
    weights: str | None = None

    def __post_init__(self) -> None:
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

    def run(self, place: Place) -> tuple[nn.Module, Tensors]:
        """Runs every level, records each stage, and returns the pruned network and its masks."""
        run = _Run(self, place)
        run.begin()
        for level, share in enumerate(run.shares, start=1):
            run.prune(level, share)
            run.retrain(level, share)
        return run.model, run.store.masks


class _Run:
    """One run under way: the network, its masks, and what they are measured against."""

    def __init__(self, what: Experiment, place: Place):
        self.what, self.place, self.ranks = what, place, place.ranks
        what.training.check_ranks(self.ranks)
        what.retraining.check_ranks(self.ranks)
        self.splits: Splits = what.data.load().to(self.ranks.device, DTYPES[what.dtype])
        self._check_calibration()
        self.model = self._initial()
        self.sample: Tensor = self.splits.train.inputs[:2]
        self.units = what.structure.units(self.model, self.sample)
        goes = {name for weight, along in self.units.items() for name in (weight, *along)}
        self.store = MaskStore({n: p for n, p in self.model.named_parameters() if n in goes})
        self.account = what.pruner.account(what.schedule.unit, self.model, self.units)
        # Before any training: a target that this model cannot reach fails here.
        self.shares = what.schedule.shares(self.account.share_of)
        self.dense_macs = macs(self.model, self.splits.shape, whole=True)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.dense = DenseTraining(
            place.dense, what.training, self._setting(0), self._initial, what.keep_epochs
        )

    def begin(self) -> None:
        self.place.watcher.begin(len(self.shares), self._epochs())
        if self.what.when == "init":
            self._record(0, "initial", 1.0, 0, 0)
            return
        epochs = self.what.training.epochs
        load_into(self.model, self.dense.at(epochs, self._watcher(0, epochs)))
        steps = self.what.training.steps(len(self.splits.train), epochs)
        self._record(0, "dense", 1.0, epochs, steps)

    def _epochs(self) -> int:
        """Epochs that this run will train."""
        dense = self.what.training.epochs
        cached = self.what.when == "init" or self.dense.has(dense)
        start = self.what.finetune.start(lambda epoch: {}, dict)
        if start is None:
            return 0 if cached else dense
        recipe: Trainer = getattr(self.what, start.recipe)
        each = recipe.epochs - start.first_epoch
        return len(self.shares) * each + (0 if cached else dense)

    def prune(self, level: int, share: float) -> None:
        self.ranks.check_equal(self.store.masks, "masks in force")
        goal = Goal(round(share * self.account.removable), self.account.unit)
        masks = self.what.pruner.masks(
            self.model, self.store, self.units, goal, self._calibration()
        )
        self.store.shrink_to(self.ranks.agree(masks))
        self.store.apply_to(self.model)
        self._record(level, "pruned", share, 0, 0)

    def retrain(self, level: int, share: float) -> None:
        start = self.what.finetune.start(self.dense.at, lambda: self._fresh(level))
        if start is None:
            return
        if start.weights is not None:
            load_into(self.model, start.weights)
        self.store.apply_to(self.model)
        recipe: Trainer = getattr(self.what, start.recipe)
        epochs = recipe.epochs - start.first_epoch
        watch = self._watcher(level, epochs)
        hooks = Hooks(
            after_backward=self.store.gradient_masker(self.model),
            epoch_end=lambda done: watch(done - start.first_epoch, self.model),
        )
        recipe.fit(self.model, self._setting(level), hooks, first_epoch=start.first_epoch)
        steps = recipe.steps(len(self.splits.train), epochs)
        self._record(level, "finetuned", share, epochs, steps)

    def _record(self, level: int, stage: str, share: float, epochs: int, steps: int) -> None:
        model, ranks = self.model, self.ranks
        test = evaluate(model, self.splits.test, self.what.task, ranks)
        validation = evaluate(model, self.splits.validation, self.what.task, ranks)
        left = parameters_left(model, self.store.masks)
        weights = prunable_weights(model)
        sparse_macs = macs(model, self.splits.shape)
        self.place.watcher.log(
            Record(
                **vars(self.place.identity),
                seed=self.what.seed,
                level=level,
                stage=stage,
                target_density=self._asked("density", share),
                target_compression=self._asked("compression", share),
                density=density(weights),
                compression=ratio(self.parameters, left),
                speedup=ratio(self.dense_macs, sparse_macs),
                parameters=left,
                macs=sparse_macs,
                top1=test.top1,
                top5=test.top5,
                loss=test.loss,
                validation_top1=validation.top1,
                validation_loss=validation.loss,
                epochs=epochs,
                steps=steps,
                layers=layer_densities(weights),
                masks=self.store.digest if level else "",
            )
        )

    def _asked(self, unit: str, share: float) -> float:
        account = self.what.pruner.account(unit, self.model, self.units)
        # 16.000000000000004 in a table would be noise of the way there and back.
        return round(account.asked_of(share), 9)

    def _calibration(self) -> Calibration:
        stream = derive(self.what.seed, "calibration")
        chosen = epoch_order(len(self.splits.train), stream, 0, 0)
        mine = self.ranks.share(chosen[: self.what.calibration_samples])
        batches = self.splits.train.batches(mine.split(self.what.training.batch_size))
        return Calibration(
            (batch for batch in batches if len(batch[1])), self.what.task.loss, self.ranks.mean
        )

    def _check_calibration(self) -> None:
        if self.what.calibration_samples > len(self.splits.train):
            raise ValueError(
                f"calibration_samples={self.what.calibration_samples}, but there are only "
                f"{len(self.splits.train)} training samples; ask for at most as many"
            )

    def _initial(self) -> nn.Module:
        model = self._build(derive(self.what.seed, "init"))
        if self.what.weights is not None:
            load_weights(model, Path(self.what.weights))
        return model

    def _fresh(self, level: int) -> Tensors:
        return self._build(derive(self.what.seed, "reinit", level)).state_dict()

    def _build(self, seed: int) -> nn.Module:
        shape, classes = self.splits.shape, self.splits.classes
        model = build_seeded(lambda: self.what.model.build(shape, classes), seed)
        return model.to(self.ranks.device, DTYPES[self.what.dtype])

    def _setting(self, level: int) -> Setting:
        return Setting(self.splits.train, self.what.task, self.ranks, self.what.seed, level)

    def _watcher(self, level: int, epochs: int) -> Callable[[int, nn.Module], None]:
        def watch(done: int, model: nn.Module) -> None:
            accuracy = None
            if self.place.watch_epochs:
                validation = self.splits.validation
                accuracy = evaluate(model, validation, self.what.task, self.ranks).top1
            self.place.watcher.epoch(level, done, epochs, accuracy)

        return watch
