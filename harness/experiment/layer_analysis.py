"""Runs a sensitivity analysis: prunes each layer alone, and writes curves to a folder."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch

from harness.allocation.global_ranking import GlobalRanking
from harness.allocation.uniform import Uniform
from harness.distributed import Ranks
from harness.experiment.context import RunContext
from harness.experiment.experiment import Experiment
from harness.experiment.prune_stage import measure_layer_curves
from harness.experiment.run import Run
from harness.experiment.state import RunState
from harness.groups.units import Units
from harness.model_state.whole_state import load_into
from harness.pruning.layer_curves import SensitivityCurves, check_grid
from harness.run_folder.console import Progress
from harness.run_folder.curve_records import FILE, Sensitivity, curve_config, to_lines
from harness.run_folder.identity import run_hash, setting_hash
from harness.run_folder.outcome import Outcome
from harness.schedule.one_shot import OneShot
from harness.schedule.shared.gradual import Gradual
from harness.system.atomic_files import write_atomic
from harness.task.base import primary_of
from harness.task.shared.measures import TOP1
from harness.training.context import TrainingCurve
from harness.vocabulary.seeds import derive


def shown_name(name: str, units: Units) -> str:
    """Returns the name with the number of further layers that compute these units, if any do."""
    more = len(units[name].weights) - 1
    return f"{name} (and {more} more)" if more else name


def without_request(experiment: Experiment) -> Experiment:
    """Returns the experiment that prunes nothing.

    A size that the run could not reach must not stop what requests none.
    """
    single = experiment.pruner.structure.single_units
    changes: dict[str, Any] = {
        "schedule": OneShot(final=1.0),
        # One that goes with any structure: none of its numbers is used.
        "allocation": GlobalRanking() if single else Uniform(),
        "prune_at": "after_training" if experiment.starts_trained else "init",
        "gradual": Gradual(),
        "compact": "never",
        "latency_table": None,
        **dict.fromkeys(("mask_updates", "penalty", "recalibration", "distillation")),
    }
    return replace(experiment, **changes)


@dataclass(frozen=True)
class Analysis(Run):
    """Measures sensitivity curves of the model that a run starts from; locked as a run is.

    Args:
        grid: densities to which each layer is pruned.
        saliency: its name in conf/.
        structure: its name in conf/.

    Raises:
        ValueError: grid is no list of densities in (0, 1].
    """

    REHEARSED: ClassVar[tuple[str, ...]] = ("saliency", "training")

    grid: tuple[float, ...] = ()
    saliency: str = ""
    structure: str = ""

    @property
    def results(self) -> tuple[str, ...]:
        return (FILE,)

    @classmethod
    def of(cls, run: Run, grid: Any, saliency: str, structure: str) -> "Analysis":
        """Returns the analysis of the model that this run starts from, with the run's `code`."""
        check_grid(grid)
        hashed_config = curve_config(run.hashed_config, grid)
        parts = [saliency, structure] + (["at init"] if hashed_config["prune_at"] == "init" else [])
        identity = replace(
            run.identity,
            run=run_hash(hashed_config)[:12],
            setting=setting_hash(hashed_config),
            method="-".join(parts).replace(" ", "_"),
            label=" / ".join(parts),
        )
        # All other folders in that folder have two hex digits for a name.
        home = run.folder.parents[1] / "sensitivity"
        folder = home / f"{run.folder.name.rpartition('-')[0]}-{identity.run}"
        written = curve_config(run.written, run.config["sensitivity"]["grid"])
        own_fields = {
            "folder": folder,
            "hashed_config": hashed_config,
            "written": written,
            "identity": identity,
        }
        run_fields = {field.name: getattr(run, field.name) for field in fields(run)}
        return cls(
            **{**run_fields, **own_fields}, grid=tuple(grid), saliency=saliency, structure=structure
        )

    def execute(self, experiment: Experiment, ranks: Ranks) -> Outcome:
        """Measures the curves unless they are complete; see Run.execute.

        Raises:
            ValueError: the task has no top-1, which the curves show.
        """
        if (primary := primary_of(experiment.task)) != TOP1:
            raise ValueError(
                f"sensitivity shows top-1, and the measure of task="
                f"{type(experiment.task).__name__} is {primary.name}; use allocation=sensitivity, "
                "which reads the loss"
            )
        with self._enter(without_request(experiment), ranks) as entered:
            if isinstance(entered, Outcome):
                return entered
            context, state, _ = entered
            self._train(context, state)
            # For a part that draws from the global streams: seeded as before the first pruning.
            torch.manual_seed(derive(context.experiment.seed, "prune", 1))
            curves = measure_layer_curves(context, state, self.grid)
            shown = {shown_name(name, context.units): each for name, each in curves.items()}
            lines = to_lines(self._records(context.experiment.seed, shown))
            ranks.on_main(lambda: write_atomic(self.folder / FILE, lines))
        return Outcome("finished", str(self.folder))

    def _train(self, context: RunContext, state: RunState) -> None:
        """Trains the model up to where the run would first prune it."""
        if not context.experiment.starts_trained:
            return
        dense, epochs = context.dense, context.experiment.training.epochs
        with Progress(self.progress if context.ranks.is_main else "none") as progress:
            progress.start(0, 0 if dense.has(dense.end) else epochs)

            def on_epoch(done: int, curve: TrainingCurve) -> None:
                progress.epoch(0, done, epochs, curve.losses[-1], curve.validation[-1])

            load_into(state.model, dense.at(dense.end, on_epoch))

    def _records(self, seed: int, curves: SensitivityCurves) -> Iterator[Sensitivity]:
        names = {record_field.name for record_field in fields(Sensitivity)}
        identity = {key: value for key, value in vars(self.identity).items() if key in names}
        for layer, points in curves.items():
            # Density 1: the model as it is.
            dense = points[0].measured
            for point in points:
                yield Sensitivity(
                    **identity,
                    saliency=self.saliency,
                    structure=self.structure,
                    seed=seed,
                    layer=layer,
                    density=point.density,
                    kept=point.kept,
                    units=points[0].kept,
                    top1=point.measured.value,
                    loss=point.measured.loss,
                    dense_top1=dense.value,
                    dense_loss=dense.loss,
                )
