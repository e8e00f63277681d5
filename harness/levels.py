"""A run, top to bottom: dense training; then per level prune, measure, retrain, measure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.allocation.base import Facts, Unreachable
from harness.bits import pack, unpack
from harness.budget import Goal
from harness.checkpoints import STAGE, Checkpoints, State
from harness.distributed.link import measured, remember
from harness.finetune.base import Start
from harness.metrics.macs import layer_macs
from harness.prunable import store_for, without
from harness.records import Identity, Record, Watcher
from harness.rounds import Rounds
from harness.saver import LevelSaver
from harness.schedule.base import path
from harness.seeds import derive
from harness.sensitivity.curves import with_curves
from harness.subject import Subject
from harness.tensors import Tensors, load_into
from harness.training.dense import DenseTraining
from harness.training.journal import Journal
from harness.training.setting import Hooks, LoopState
from harness.training.trainer import Trainer

if TYPE_CHECKING:
    from harness.experiment import Experiment


class Levels:
    """One run under way: the network, its masks, and the levels that they go through.

    passed: the last stage that is recorded; -1 none, 0 dense or initial, 2L - 1 "pruned" and 2L
    "finetuned" of level L.
    """

    def __init__(
        self,
        what: "Experiment",
        subject: Subject,
        dense: Path,
        journal: Journal | None,
    ):
        self.what, self.subject, self.ranks = what, subject, subject.ranks
        self.journal = journal
        self.network = subject.initial()
        units = what.structure.units(self.network, subject.sample())
        self.units = without(units, what.exclude)
        self.store = store_for(self.network, self.units)
        self.facts = Facts(layer_macs(self.network, subject.splits.shape, whole=True))
        self.accounts = {
            unit: what.pruner.account(unit, self.network, self.units, self.facts)
            for unit in ("density", "compression")
        }
        self.account = self.accounts[what.schedule.unit]
        # Before any training: a target that this model cannot reach fails here.
        self.shares = what.schedule.shares(self.account.share_of)
        self._check(self._goal(min(self.shares)))
        keep = {*what.keep_epochs, *what.finetune.dense_epochs}
        # The folder's name stands for the code that decides this training.
        shared = journal and replace(journal, code=dense.name)
        self.dense = DenseTraining(
            dense, what.training, subject.setting(0), subject.initial, keep, shared
        )
        self.passed, self.records = -1, 0

    def _check(self, goal: Goal) -> None:
        try:
            self.what.pruner.check(goal, self.network, self.units, self.facts)
        except Unreachable as error:
            limit = self.account.asked_of(error.share)
            raise ValueError(f"{error}, a {self.account.unit} of {limit:.6g}") from error

    def run(
        self,
        identity: Identity,
        watcher: Watcher,
        files: Checkpoints | None = None,
        saved: State | None = None,
    ) -> tuple[nn.Module, Tensors]:
        """Runs every level, records each stage, and returns the pruned network and its masks.

        files: where the run saves itself; saved: what an earlier start of it saved there.

        Raises:
            RanksDisagree: masks or weights differ between ranks.
            Stopped: a signal asked for it, and all is saved.
        """
        self.identity, self.watcher, self.files = identity, watcher, files
        training = self._take_up(saved) if saved else None
        watcher.begin(len(self.shares), self._epochs_to_train(training))
        if self.passed < 0:
            self._begin()
        for level, share in enumerate(self.shares, start=1):
            if self.passed < 2 * level - 1:
                self._prune(level, share)
            if self.passed < 2 * level:
                self._retrain(level, share, training)
                training = None
        return self.network, self.store.masks

    def standing(self, training: LoopState | None = None) -> State:
        """All that the levels to come depend on; the network is in `training`, if there is one."""
        return {
            "passed": self.passed,
            "records": self.records,
            "dense": self.dense.folder.name,
            "masks": {name: pack(mask) for name, mask in self.store.masks.items()},
            "network": None if training else self.network.state_dict(),
            "training": training,
            "link": measured(self.ranks),
        }

    def _take_up(self, saved: State) -> LoopState | None:
        self.passed, self.records = saved["passed"], saved["records"]
        shapes = {name: mask.shape for name, mask in self.store.masks.items()}
        device = self.ranks.device
        self.store.shrink_to(
            {name: unpack(saved["masks"][name].to(device), s) for name, s in shapes.items()}
        )
        if saved["numerics"]["world_size"] == self.ranks.count:
            remember(self.ranks, saved["link"])
        if saved["network"]:
            load_into(self.network, saved["network"])
        if saved["dense"] != self.dense.folder.name:
            # Made by another number of ranks: what it trained is read, not trained again.
            home = self.dense.folder.parents[1] / saved["dense"][:2] / saved["dense"]
            self.dense = replace(self.dense, folder=home, foreign=True)
        training: LoopState | None = saved["training"]
        return training

    def _begin(self) -> None:
        if self.what.when == "init":
            self._record(0, "initial", 1.0)
            return
        epochs = self.what.training.epochs
        load_into(self.network, self.dense.at(epochs, self._on_epoch(0, epochs)))
        self._record(0, "dense", 1.0, self.what.training, epochs)

    def _prune(self, level: int, share: float) -> None:
        self.ranks.check_equal(self.store.masks, "masks in force")
        # For a part that draws from the global streams: alike on all ranks and after a restart.
        torch.manual_seed(derive(self.what.seed, "prune", level))
        self.facts = with_curves(self)
        before = self.shares[level - 2] if level > 1 else 1.0
        goals = [self._goal(part) for part in path(before, share, self.what.rounds)]
        self._rounds().run(self.network, self.store, goals)
        self._record(level, "pruned", share)

    def _rounds(self) -> Rounds:
        data = self.subject.calibration(self.what.calibration, self.what.training.batch_size)
        stop = self.journal.stop_if_asked if self.journal else lambda: None
        pruner, ranks = self.what.pruner, self.ranks
        return Rounds(pruner, self.units, data, self.facts, ranks.agree, ranks.send, stop)

    def _goal(self, share: float) -> Goal:
        return Goal(round(share * self.account.removable), self.account.counts)

    def _retrain(self, level: int, share: float, training: LoopState | None) -> None:
        start = self._form() if training else self._start(level)
        if start is None:
            return
        recipe: Trainer = getattr(self.what, start.recipe)
        epochs = recipe.epochs - start.first_epoch
        store, on_epoch = self.store, self._on_epoch(level, epochs)
        hooks = Hooks(
            after_backward=store.gradient_masker(self.network),
            epoch_end=lambda done: on_epoch(done - start.first_epoch, self.network),
            live=lambda: store.masks,
            saver=LevelSaver(self, level, self.journal, self.files)
            if self.journal and self.files
            else None,
        )
        setting = self.subject.setting(level)
        recipe.fit(self.network, setting, hooks, start.first_epoch, resumed=training)
        self._record(level, "finetuned", share, recipe, epochs)

    def _start(self, level: int) -> Start | None:
        start = self.what.finetune.start(self.dense.at, lambda: self.subject.fresh(level))
        weights = start.weights if start else None
        if start and self.what.control == "reinitialised":
            weights = self.subject.fresh(level)
        if weights is not None:
            load_into(self.network, weights)
        self.store.apply_to(self.network)
        return start

    def _form(self) -> Start | None:
        """Recipe and first epoch of every retraining, without the weights."""
        return self.what.finetune.start(lambda epoch: {}, dict)

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
        record = Record(
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
        self.ranks.on_main(lambda: self.watcher.log(record))
        self.passed, self.records = 2 * level - (stage == "pruned"), self.records + 1
        if self.journal and self.files:
            self.journal.save(self.files, f"level-{level:02d}-{stage}", STAGE, self.standing())

    def _epochs_to_train(self, training: LoopState | None) -> int:
        dense = self.what.training.epochs
        if self.what.when == "init" or self.passed >= 0 or self.dense.has(dense):
            dense = 0
        start = self._form()
        if start is None:
            return dense
        recipe: Trainer = getattr(self.what, start.recipe)
        each = recipe.epochs - start.first_epoch
        done = training["epoch"] - start.first_epoch if training else 0
        return dense + (len(self.shares) - max(0, self.passed) // 2) * each - done

    def _on_epoch(self, level: int, epochs: int) -> Callable[[int, nn.Module], None]:
        def on_epoch(done: int, network: nn.Module) -> None:
            follow = self.watcher.follows_epochs
            accuracy = self.subject.validation_top1(network) if follow else None
            self.watcher.epoch(level, done, epochs, accuracy)

        return on_epoch
