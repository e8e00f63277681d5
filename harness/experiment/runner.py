"""A run, top to bottom: dense training; then per level prune, measure, retrain, measure."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.experiment.latency import note_latency
from harness.experiment.prune_stage import Prunings
from harness.experiment.requested import Targets, Turn
from harness.experiment.saving import save_stage, take_up
from harness.experiment.stage_cache import come_to, stages_of
from harness.experiment.train_hooks import Inside
from harness.experiment.train_stage import Trainings
from harness.experiment.validation import check_network, check_steps
from harness.experiment.workload import Subject
from harness.metrics.latency import Latency
from harness.model_state.whole_state import load_into
from harness.pruning.prunable import store_for
from harness.pruning.prunable_network import prunable_of
from harness.run_folder.checkpoints import Checkpoints, State
from harness.run_folder.records import NOTHING, STAGES, Identity, Record, Trained, place
from harness.run_folder.sinks import Watcher
from harness.run_folder.stage_keys import Place, Shared
from harness.training.checkpointing import Journal
from harness.training.context import LoopState
from harness.training.dense import DenseTraining
from harness.vocabulary.step_index import START, Moment
from harness.vocabulary.tensors import Tensors

if TYPE_CHECKING:
    from harness.experiment.experiment import Experiment

# Of a stage: the kept share in force, and what its record says that is not of this run alone.
Found = dict[str, Any]


class Levels:
    """One run under way: the network, its masks, and the levels that they go through.

    passed: the last stage that is recorded; -1 none, 0 dense or initial, then four per level.
    past: what was found at each of them. mixed: bits of it were made on other numerics.
    scope: what its densities are of. share: kept share of what can be removed, in force. chosen:
    masks of the coming pruning, where a penalty had to know them. speedup: dense / live MACs that
    the retraining under way, or the next one, begins with. along: biases and norms as they were
    before their units were pruned, if these may recover. training: of one that was cut off.
    """

    def __init__(
        self,
        what: "Experiment",
        subject: Subject,
        dense: Path,
        journal: Journal | None,
        shared: Shared | None = None,
    ):
        self.what, self.subject, self.ranks = what, subject, subject.ranks
        self.journal, self.shared = journal, shared
        self.network = subject.initial()
        self.macs = subject.macs(self.network)
        found = prunable_of(what.structure, self.network, what.exclude, subject.sample(), self.macs)
        self.units, self.scope, self.facts = found.units, found.scope, found.facts
        self.store = store_for(self.network, self.units, what.may_grow)
        self.trainings, self.prunings, self.speedup = Trainings(self), Prunings(self), 1.0
        # Before any training: what this model cannot reach, or no part can do, fails here.
        steps = self.trainings.steps(self.trainings.form())
        check_steps(what, steps)
        self.targets = Targets(what, self.network, self.units, self.facts, steps)
        self.shares = self.targets.shares
        check_network(what, self.network, steps, len(subject.splits.train))
        subject.check_sums(self.network, what.distillation)
        keep = [*map(Moment, what.keep_epochs), *what.finetune.moments(what.training.epochs)]
        # The folder's name stands for the code that decides this training.
        common = journal and replace(journal, code=dense.name)
        self.dense = DenseTraining(
            dense, what.training, subject.setting(0), subject.initial, keep, common
        )
        for moment in keep:
            self.dense.settled(moment)  # refuses one beyond it
        self.passed, self.past, self.share, self.mixed = -1, list[Found](), 1.0, False
        self.chosen, self.along = dict[str, Tensor](), dict[str, Tensor]()
        self.training: LoopState | None = None
        if journal:
            journal.unsaved.begin(self.network, {**vars(what), "splits": subject.splits})

    @property
    def finished(self) -> bool:
        return self.passed >= place(len(self.shares), STAGES[-1])

    def run(
        self,
        identity: Identity,
        watcher: Watcher,
        files: Checkpoints | None = None,
        saved: State | None = None,
        latency: Latency | None = None,
    ) -> tuple[nn.Module, Tensors]:
        """Runs every level, records each stage, and returns the pruned network and its masks.

        files: where the run saves itself; saved: what an earlier start of it saved there; latency:
        how that of its results is measured.

        Raises:
            RanksDisagree: masks or weights differ between ranks.
            Stopped: a signal asked for it, and all is saved.
        """
        self.identity, self.watcher, self.files, self.latency = identity, watcher, files, latency
        if saved:
            take_up(self, saved)
            self.mixed |= self.journal is not None and saved["numerics"] != self.journal.numerics
        watcher.begin(len(self.shares), self.trainings.epochs_left())
        for end in stages_of(self):
            come_to(self, end)
        self.go_on()
        return self.network, self.store.masks

    def go_on(self, end: Place | None = None) -> None:
        """Carries out the stages to come; with an end, up to it."""
        if self.passed < 0:
            self._begin()
        if self.what.when == "steps":
            return self._prune_inside()
        steps = (self._penalise, self._prune, self._recalibrate, self._retrain)
        for level, share in enumerate(self.shares, start=1):
            for stage, step in zip(STAGES, steps, strict=True):
                if self.passed < place(level, stage):
                    step(level, share)
                if end == (level, stage):
                    return

    def _begin(self) -> None:
        if not self.what.starts_trained:
            self._record(0, "initial")
            return
        on_epoch = self.trainings.on_epoch(0, (self.what.training, START))
        state, curve = self.dense.come_to(self.dense.end, on_epoch)
        load_into(self.network, state)
        self._record(0, "dense", self.trainings.dense(curve))

    def _penalise(self, level: int, share: float) -> None:
        penalty = self.what.penalty
        if penalty is None:
            return
        if penalty.names_units and not self.training:
            rounds = self.prunings.ready(level)
            found = rounds.foreseen(self.network, self.store, self.prunings.goals(share))
            self.chosen = rounds.agree(found)
        going = {name: self.store.masks[name] & ~mask for name, mask in self.chosen.items()}
        form = (replace(self.what.retraining, epochs=penalty.epochs), START)
        adder = penalty.adder(self.network, going)
        trained = self.trainings.train(level, form, f"{level}/penalty", adder=adder)
        self._record(level, "penalised", trained)

    def _prune(self, level: int, share: float) -> None:
        self.prunings.shrink(level, share)
        self.speedup = self.trainings.speedup()
        self._record(level, "pruned")

    def _recalibrate(self, level: int, share: float) -> None:
        part = self.what.recalibration
        if part is None:
            return
        batches = self.subject.inputs(part.samples, part.batch_size, "recalibration")
        part.apply(self.network, batches)
        name = type(part).__name__
        self.ranks.check_replicas(self.network, f"the network after recalibration by {name}")
        self._record(level, "recalibrated")

    def _retrain(self, level: int, share: float) -> None:
        form = self.trainings.form()
        if form is None:
            return
        if not self.training:
            self.prunings.release(level)
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
            self.prunings.let_go()
            inside.forget(optimizer)  # AC/DC's dense phases begin without momentum
            return
        # Inside an epoch each rank's forward has changed them by its own samples.
        self.ranks.send(list(self.network.buffers()))
        device = self.ranks.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            self.prunings.shrink(turn.level, turn.share)
        self.store.apply_to(self.network, optimizer)
        self._record(turn.level, "pruned", inside.trained(inside.number), save=False)
        self.prunings.release(turn.level)

    def _record(
        self, level: int, stage: str, trained: Trained = NOTHING, save: bool = True
    ) -> None:
        """save: this is no place inside a training."""
        # Before measuring: a rank that finds a live pruned weight would leave the others waiting.
        self.ranks.check_equal(self.store.masks, "masks in force")
        measured = self.subject.measure(self.network, self.store.masks, self.macs, self.scope)
        masks = self.store.digest if level else ""
        found = {"level": level, "stage": stage, "masks": masks, **measured, **vars(trained)}
        if self.macs.uncounted:
            found |= {"training_flops": None, "training_flops_dense": None}
        self.past.append({"share": self.share, "record": found})
        self.show(self.past[-1])
        note_latency(self)
        self.passed = place(level, stage)
        if save:
            save_stage(self)

    def show(self, found: Found) -> None:
        """Records what this run found, or another one that came the same way."""
        record = self.record_of(found, self.identity)
        self.ranks.on_main(lambda: self.watcher.log(record))

    def record_of(self, found: Found, identity: Identity) -> Record:
        asked: dict[str, Any] = self.targets.asked(found["share"])
        return Record(
            **vars(identity),
            **found["record"],
            **asked,
            seed=self.what.seed,
            on_the_way=self.targets.on_the_way(found["record"]["level"]),
        )
