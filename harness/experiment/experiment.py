"""Defines an experiment: one method on one task, whose parts fit each other."""

from dataclasses import dataclass

from harness.experiment.config import ExperimentConfig
from harness.experiment.validation import check_parts
from harness.pruning.part_protocols import check_offers


@dataclass(frozen=True)
class Experiment(ExperimentConfig):
    """Checks itself when it is built; `runner.prepare` makes it ready to run.

    Raises:
        ValueError: a value is out of range, or two parts do not fit.
    """

    def __post_init__(self) -> None:
        check_offers({name: getattr(self, name) for name in self.__dataclass_fields__})
        check_offers({"mask_updater": self.mask_updater})
        self.check_values()
        check_parts(self)
        _ = self.pruner  # refuses a saliency that does not fit the structure
