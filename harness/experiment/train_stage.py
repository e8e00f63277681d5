"""The trainings of a run after its dense one: by which recipe, from where, and what they cost."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.dynamics.base import Exchange
from harness.experiment.saving import LevelSaver
from harness.experiment.train_hooks import Event, Inside, Teach
from harness.metrics.macs import said_uncounted
from harness.model_state.whole_state import load_into
from harness.run_folder.records import STAGES, Trained
from harness.task.base import counts_of
from harness.training.context import Curve, Fit, OnEpoch
from harness.training.cost_meter import Meter, trained
from harness.training.recipe_presets import applied
from harness.training.trainer import Trainer
from harness.vocabulary.step_index import Moment

if TYPE_CHECKING:
    from harness.experiment.runner import Levels

Form = tuple[Trainer, Moment]  # a recipe and where in it a training begins


class Trainings:
    """What a run trains between its records; the network and the masks are those of `levels`."""

    def __init__(self, levels: "Levels"):
        self.levels, self.what = levels, levels.what
        self.samples = len(levels.subject.splits.train)
        self.dense_macs = levels.macs.dense
        self._check_lengths()

    def speedup(self) -> float:
        """Dense / live multiply-accumulates, of the masks in force."""
        return self.dense_macs / self.macs()

    def _check_lengths(self) -> None:
        """
        Raises:
            ValueError: a retraining's length follows from a speed-up that is not known.
        """
        plan, epochs = self.what.finetune.plan, self.what.training.epochs
        if self.levels.macs.uncounted and plan(epochs, 2.0) != plan(epochs, 1.0):
            raise ValueError(
                "finetune trains the longer the fewer multiply-accumulates are left, and "
                f"{said_uncounted(self.levels.macs.uncounted)}; use finetune=scratch_e or keep"
            )

    def form(self) -> Form | None:
        """Of the retraining that comes next, or is under way; None: there is none."""
        plan = self.what.finetune.plan(self.what.training.epochs, self.levels.speedup)
        if plan is None:
            return None
        recipe = applied(plan, self.what.training, self.what.retraining)
        return recipe, plan.begin.settled(recipe.steps_per_epoch(self.samples))

    def steps(self, form: Form | None) -> int:
        if form is None:
            return 0
        recipe, begin = form
        each = recipe.steps_per_epoch(self.samples)
        return max(0, recipe.epochs * each - begin.steps(each))

    def macs(self) -> int:
        """Multiply-accumulates of one example that the masks in force leave, at least 1."""
        return max(1, self.levels.macs.left(self.levels.store.masks))

    def dense(self, curve: Curve) -> Trained:
        """What dense training has cost, whoever paid for it, and how it went."""
        meter = self._meter(self.what.training, Moment(0))
        meter.until(self.steps((self.what.training, Moment(0))))
        steps = self.what.training.steps_per_epoch(self.samples)
        return trained(meter.take(), steps, "reset", Fit(None, curve))

    def load_start(self, level: int) -> None:
        """Weights that retraining starts from, under the masks in force."""
        levels, what = self.levels, self.what
        epochs = what.training.epochs
        weights = what.finetune.weights(
            epochs, levels.dense.at, lambda: levels.subject.fresh(level)
        )
        if what.control == "reinitialised":
            weights = levels.subject.fresh(level)
        if weights is not None:
            load_into(levels.network, weights)
        levels.store.apply_to(levels.network)

    def train(
        self,
        level: int,
        form: Form,
        streams: int | str,
        exchange: Exchange | None = None,
        events: Mapping[int, Event] | None = None,
        adder: Callable[[int], None] | None = None,
    ) -> Trained:
        """Trains the network, or goes on with the training that was cut off.

        streams: names the random streams; the rest as in Inside.
        """
        levels, (recipe, begin) = self.levels, form
        # Here, not at the first step: it may have to be trained.
        student = self._student(self._teacher()) if self.what.distillation and not adder else None
        inside = Inside(
            levels,
            level,
            self._meter(recipe, begin, taught=student is not None),
            steps=self.steps(form),
            steps_per_epoch=recipe.steps_per_epoch(self.samples),
            exchange=exchange,
            events=events,
            adder=adder,
            teach=student,
        )
        resumed, levels.training = levels.training, None
        if resumed:
            inside.load(resumed["inside"])
        hooks = inside.hooks(self.on_epoch(level, form), self._saver(level, inside))
        setting = levels.subject.setting(streams)
        fit = recipe.fit(levels.network, setting, hooks, begin, resumed=resumed)
        return inside.trained(inside.steps, fit)

    def epochs_left(self) -> int:
        """Of all trainings to come, but for what they lose or win by what is pruned on the way."""
        levels, what = self.levels, self.what
        form = self.form()
        retraining = form[0].epochs - form[1].epoch if form else 0
        dense = what.training.epochs
        if not what.starts_trained or levels.passed >= 0 or levels.dense.has(levels.dense.end):
            dense = 0
        if what.when == "steps":
            each, count = retraining, int(not levels.finished)
        else:
            each = retraining + (what.penalty.epochs if what.penalty else 0)
            count = len(levels.shares) - max(0, levels.passed) // len(STAGES)
        done = levels.training["epoch"] - form[1].epoch if levels.training and form else 0
        return dense + count * each - done

    def on_epoch(self, level: int, form: Form) -> OnEpoch:
        """Shows each epoch of a training."""
        recipe, begin = form

        def show(done: int, curve: Curve) -> None:
            ended, epochs = done - begin.epoch, recipe.epochs - begin.epoch
            self.levels.watcher.epoch(level, ended, epochs, curve.losses[-1], curve.top1[-1])

        return show

    def _saver(self, level: int, inside: Inside) -> LevelSaver | None:
        journal, files = self.levels.journal, self.levels.files
        return LevelSaver(self.levels, level, inside, journal, files) if journal and files else None

    def _meter(self, recipe: Trainer, begin: Moment, taught: bool = False) -> Meter:
        first = begin.steps(recipe.steps_per_epoch(self.samples))
        return Meter(self.samples, recipe.batch_size, first, self.dense_macs, self.macs, taught)

    def _student(self, teacher: nn.Module) -> Teach:
        distillation = self.what.distillation
        assert distillation is not None

        def loss(inputs: Tensor, outputs: Tensor, labels: Tensor, own: Tensor) -> Tensor:
            with torch.no_grad():
                found = teacher(inputs)
            return distillation.loss(outputs, found, own, counts_of(self.what.task, labels))

        return loss

    def _teacher(self) -> nn.Module:
        """The dense network, in eval mode."""
        network = self.levels.subject.initial()
        load_into(network, self.levels.dense.at(self.levels.dense.end))
        return network.eval().requires_grad_(False)
