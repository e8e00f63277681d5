"""What a run has from its beginning to its end, and nothing changes."""

from dataclasses import dataclass

from harness.allocation.base import Facts
from harness.distributed import Ranks
from harness.experiment.config import ExperimentConfig
from harness.experiment.requested import Targets
from harness.experiment.workload import Subject
from harness.metrics.macs import Macs
from harness.pruning.density import Scope
from harness.run_folder.stage_keys import Shared
from harness.structure.base import Units
from harness.training.checkpointing import Journal
from harness.training.dense import DenseTraining


@dataclass(frozen=True)
class RunContext:
    """Made by `runner.prepare`, which checks all that can be checked before any training.

    units: those that are pruned. scope: what densities are of. facts: what allocations know of the
    layers. macs: of the dense network. requested: the sizes of all levels. journal: None saves
    nothing on the way. shared: stages that other runs have too; None computes all of them.
    """

    experiment: ExperimentConfig
    workload: Subject
    macs: Macs
    units: Units
    scope: Scope
    facts: Facts
    requested: Targets
    dense: DenseTraining
    journal: Journal | None = None
    shared: Shared | None = None

    @property
    def ranks(self) -> Ranks:
        return self.workload.ranks

    @property
    def shares(self) -> list[float]:
        """Kept shares of what can be removed, at level 1, 2, ..."""
        return self.requested.shares

    @property
    def samples(self) -> int:
        """Of the training data."""
        return len(self.workload.splits.train)
