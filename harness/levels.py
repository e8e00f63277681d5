"""A run, top to bottom: dense training; then per level prune, measure, retrain, measure."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.allocation.base import Facts
from harness.budget import Goal
from harness.checkpoints import STAGE, Checkpoints, State
from harness.checks import check_network, check_steps
from harness.inside import Inside
from harness.metrics.macs import layer_macs
from harness.moment import START, Moment
from harness.prunable import store_for, take_over, without
from harness.records import NOTHING, STAGES, Identity, Record, Trained, Watcher, place
from harness.rounds import Rounds
from harness.saver import standing, take_up
from harness.schedule.base import path
from harness.seeds import derive
from harness.sensitivity.curves import with_curves
from harness.subject import Subject
from harness.targets import Targets, Turn
from harness.tensors import Tensors, copied, load_into
from harness.training.dense import DenseTraining
from harness.training.journal import Journal
from harness.training.setting import LoopState
from harness.trainings import Trainings

if TYPE_CHECKING:
    from harness.experiment import Experiment


class Levels:
    """One run under way: the network, its masks, and the levels that they go through.

    passed: the last stage that is recorded; -1 none, 0 dense or initial, then four per level.
    share: kept share of what can be removed, in force. chosen: masks of the coming pruning, where
    a penalty had to know them. speedup: dense / live multiply-accumulates that the retraining
    under way, or the next one, begins with. along: biases and norms as they were before their
    units were pruned, where these may recover. training: the state of one that was cut off.
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
        self.store = store_for(self.network, self.units, what.may_grow)
        self.facts = Facts(layer_macs(self.network, subject.splits.shape, whole=True))
        self.trainings, self.speedup = Trainings(self), 1.0
        # Before any training: what this model cannot reach, or no part can do, fails here.
        steps = self.trainings.steps(self.trainings.form())
        check_steps(what, steps)
        self.targets = Targets(what, self.network, self.units, self.facts, steps)
        self.shares = self.targets.shares
        check_network(what, self.network, steps, len(subject.splits.train))
        keep = [*map(Moment, what.keep_epochs), *what.finetune.moments(what.training.epochs)]
        # The folder's name stands for the code that decides this training.
        shared = journal and replace(journal, code=dense.name)
        self.dense = DenseTraining(
            dense, what.training, subject.setting(0), subject.initial, keep, shared
        )
        for moment in keep:
            self.dense.settled(moment)  # refuses one beyond it
        self.passed, self.records, self.share = -1, 0, 1.0
        self.chosen, self.along = dict[str, Tensor](), dict[str, Tensor]()
        self.training: LoopState | None = None

    @property
    def finished(self) -> bool:
        return self.passed >= place(len(self.shares), STAGES[-1])

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
        if saved:
            take_up(self, saved)
        watcher.begin(len(self.shares), self.trainings.epochs_left())
        if self.passed < 0:
            self._begin()
        if self.what.when == "steps":
            self._prune_inside()
            return self.network, self.store.masks
        steps = (self._penalise, self._prune, self._recalibrate, self._retrain)
        for level, share in enumerate(self.shares, start=1):
            for stage, step in zip(STAGES, steps, strict=True):
                if self.passed < place(level, stage):
                    step(level, share)
        return self.network, self.store.masks

    def _begin(self) -> None:
        if not self.what.starts_trained:
            self._record(0, "initial")
            return
        on_epoch = self.trainings.on_epoch(0, self.what.training.epochs)
        load_into(self.network, self.dense.at(self.dense.end, on_epoch))
        self._record(0, "dense", self.trainings.dense())

    def _penalise(self, level: int, share: float) -> None:
        penalty = self.what.penalty
        if penalty is None:
            return
        if penalty.names_units and not self.training:
            rounds = self._ready(level)
            found = rounds.foreseen(self.network, self.store, self._goals(share))
            self.chosen = rounds.agree(found)
        going = {name: self.store.masks[name] & ~mask for name, mask in self.chosen.items()}
        form = (replace(self.what.retraining, epochs=penalty.epochs), START)
        adder = penalty.adder(self.network, going)
        trained = self.trainings.train(level, form, f"{level}/penalty", adder=adder)
        self._record(level, "penalised", trained)

    def _prune(self, level: int, share: float) -> None:
        self._shrink(level, share)
        self.speedup = self.trainings.speedup()
        self._record(level, "pruned")

    def _recalibrate(self, level: int, share: float) -> None:
        part = self.what.recalibration
        if part is None:
            return
        batches = self.subject.inputs(part.samples, part.batch_size, "recalibration")
        part.apply(self.network, batches)
        self._record(level, "recalibrated")

    def _retrain(self, level: int, share: float) -> None:
        form = self.trainings.form()
        if form is None:
            return
        if not self.training:
            self._release(level)
            self.trainings.load_start(level)
        trained = self.trainings.train(level, form, level, self.what.exchange)
        self._record(level, "finetuned", trained)

    def _prune_inside(self) -> None:
        """The one training in which masks change."""
        form = self.trainings.form()
        if self.finished or form is None:
            return
        if not self.training:
            self.trainings.load_start(1)
        events = {turn.number: partial(self._turn, turn) for turn in self.targets.turns}
        last = len(self.shares)
        trained = self.trainings.train(last, form, 1, events=events)
        self._record(last, "finetuned", trained)

    def _turn(self, turn: Turn, inside: Inside, optimizer: Optimizer) -> None:
        """A pruning inside a training; or, where the schedule lets them, all weights return."""
        if turn.level is None:
            self._let_go()
            inside.forget(optimizer)  # AC/DC's dense phases begin without momentum
            return
        device = self.ranks.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            self._shrink(turn.level, turn.share)
        self.store.apply_to(self.network, optimizer)
        self._record(turn.level, "pruned", inside.trained(inside.number), save=False)
        self._release(turn.level)

    def _shrink(self, level: int, share: float) -> None:
        if self.what.may_grow:
            names = self.store.masks.keys() - self.units.keys()
            self.along = copied({name: self.network.get_parameter(name) for name in names})
        if self.chosen:
            self.store.shrink_to(self.chosen)
            self.store.apply_to(self.network)
        else:
            self._ready(level).run(self.network, self.store, self._goals(share))
        self.chosen, self.share = {}, share

    def _release(self, level: int) -> None:
        """Where units may recover until the last level, all are free after any other one."""
        if self.what.releases and level < len(self.shares):
            self._let_go()

    def _let_go(self) -> None:
        """All weights return, from 0, and their units with the biases and norms that they had:
        without these a unit would pass no gradient back through its ReLU, and stay dead."""
        masks = self.store.masks
        now = {name: self.network.get_parameter(name).detach() for name in self.along}
        take_over(self.network, {n: now[n].where(masks[n], old) for n, old in self.along.items()})
        self.store.replace({name: torch.ones_like(mask) for name, mask in masks.items()})
        self.share = 1.0

    def _ready(self, level: int) -> Rounds:
        """What prunes this level, on ranks that are alike."""
        self.ranks.check_equal(self.store.masks, "masks in force")
        # For a part that draws from the global streams: alike on all ranks and after a restart.
        torch.manual_seed(derive(self.what.seed, "prune", level))
        self.facts = with_curves(self)
        data = self.subject.calibration(self.what.calibration, self.what.training.batch_size)
        stop = self.journal.stop_if_asked if self.journal else lambda: None
        pruner, ranks = self.what.pruner, self.ranks
        return Rounds(pruner, self.units, data, self.facts, ranks.agree, ranks.send, stop)

    def _goals(self, share: float) -> list[Goal]:
        """Of the rounds from what is in force to this share."""
        return [self.targets.goal(part) for part in path(self.share, share, self.what.rounds)]

    def _record(
        self, level: int, stage: str, trained: Trained = NOTHING, save: bool = True
    ) -> None:
        """save: this is no place inside a training."""
        # Before measuring: a rank that finds a live pruned weight would leave the others waiting.
        self.ranks.check_equal(self.store.masks, "masks in force")
        measured: dict[str, Any] = self.subject.measure(self.network, self.store.masks)
        measured |= self.targets.asked(self.share)
        record = Record(
            **vars(self.identity),
            **measured,
            **vars(trained),
            seed=self.what.seed,
            level=level,
            stage=stage,
            masks=self.store.digest if level else "",
            on_the_way=self.targets.on_the_way(level),
        )
        self.ranks.on_main(lambda: self.watcher.log(record))
        self.passed, self.records = place(level, stage), self.records + 1
        if save and self.journal and self.files:
            name = f"level-{level:02d}-{stage}"
            self.journal.save(self.files, name, STAGE, standing(self))
