"""Searches values with Optuna, by the validation measure of earlier runs.

Only the runs and their records are stored. The sampler is seeded, so a second start proposes the
same values, skips their finished runs and continues after them.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from hydra.core.override_parser.types import Glob, IntervalSweep, Override

from harness.extras import check_extra
from harness.run_folder.outcome import Outcome
from harness.task.shared.measures import TOP1, Measure, validation_text
from harness.vocabulary.checks import check_declared

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

WAYS = "write interval(low,high), tag(log,interval(low,high)), int(interval(low,high)) or a,b,c"


@dataclass(frozen=True)
class Trial:
    """Holds one proposal and its result.

    validation: the primary measure, None for a failed run.
    measure: which it is.
    """

    overrides: list[str]
    validation: float | None
    folder: str
    reason: str = ""
    measure: Measure = TOP1

    @property
    def score(self) -> float:
        """Returns what is maximised; a failed run has the worst."""
        if self.validation is None:
            return 0.0 if self.measure.higher_is_better else -sys.float_info.max
        return self.validation if self.measure.higher_is_better else -self.validation


@dataclass(frozen=True)
class Search:
    """Proposes values by TPE and stores the results of the trials (TPE: Bergstra et al. 2011).

    trials: number of all trials, >= 1.
    batch_size: trials proposed together, before any of their results; as many workers are busy.
    seed: of the sampler, >= 0.

    Raises:
        ValueError: a value is out of range.
    """

    trials: Annotated[int, "a whole number in [1, 1000000]"]
    batch_size: Annotated[int, "a whole number in [1, 1000000]"]
    seed: Annotated[int, "a whole number in [0, 4294967295]"]
    done: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_declared(self, "hydra.sweeper.")

    def batches(
        self, overrides: Sequence[Override], execute: Callable[[list[list[str]]], list[Outcome]]
    ) -> Iterator[None]:
        """Executes the trials batch by batch and adds them to `done`; yields after each batch.

        execute: returns one outcome per list of overrides, in the same order.

        Raises:
            ValueError: optuna is missing, no key has a range, or a range is wrong.
        """
        study = _study(self.seed)
        last = {
            override.get_key_element(): override for override in overrides
        }  # the last override of each key
        fixed = [
            str(override.input_line)
            for override in last.values()
            if not override.is_sweep_override()
        ]
        ranges = {
            key: range_of(override)
            for key, override in last.items()
            if override.is_sweep_override()
        }
        if not ranges:
            raise ValueError(
                f"hydra/sweeper=search: no key has a range; {WAYS} for at least one key"
            )
        while left := self.trials - len(self.done):
            trials = [study.ask(ranges) for _ in range(min(self.batch_size, left))]
            chosen = [[f"{key}={trial.params[key]}" for key in ranges] for trial in trials]
            outcomes = execute([[*fixed, *values] for values in chosen])
            for trial, values, outcome in zip(trials, chosen, outcomes, strict=True):
                facts = outcome.validation, outcome.folder, outcome.reason, outcome.measure
                self.done.append(Trial(values, *facts))
                # Optuna ignores failed trials and would propose more values that diverge.
                study.tell(trial, self.done[-1].score)
            yield

    @property
    def failed(self) -> int:
        return sum(trial.validation is None for trial in self.done)

    @property
    def best(self) -> Trial | None:
        """Returns the first of the best trials; None if all have failed."""
        measured = [trial for trial in self.done if trial.validation is not None]
        return max(measured, key=lambda trial: trial.score, default=None)

    def result(self) -> dict[str, Any]:
        best = self.best
        return {
            "best": asdict(best) if best else None,
            "failed": self.failed,
            "seed": self.seed,
            "trials": [asdict(trial) for trial in self.done],
        }

    def line(self) -> str:
        counts = f"search: {len(self.done)} trials, {self.failed} failed"
        if self.best is None:
            return f"{counts}; none has a result"
        found = validation_text(self.best.measure, self.best.validation)
        values = " ".join(self.best.overrides)
        return f"{counts}; best {values}: {found} on validation data: {self.best.folder}"


def range_of(override: Override) -> "BaseDistribution":
    """Returns Optuna's distribution for an override.

    Raises:
        ValueError: the override has no range that can be searched.
    """
    from optuna import distributions

    value, key = override.value(), override.key_or_group
    if override.is_discrete_sweep() and not isinstance(value, Glob):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    if not isinstance(value, IntervalSweep):
        raise ValueError(f"{override.input_line}: no range that can be searched; {WAYS}")
    low, high, log = value.start, value.end, "log" in value.tags
    try:
        if isinstance(low, int) and isinstance(high, int):
            return distributions.IntDistribution(low, high, log=log)
        return distributions.FloatDistribution(float(low or 0), float(high or 0), log=log)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _study(seed: int) -> "Study":
    check_extra("search", "hydra/sweeper=search")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed)
    return optuna.create_study(direction="maximize", sampler=sampler)
