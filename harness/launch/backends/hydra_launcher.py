"""Executes the runs of a sweep through a launcher that is not this project's."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from hydra.plugins.launcher import Launcher

from harness.launch.backends.base import Backend
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome


@dataclass(frozen=True)
class HydraLauncherBackend(Backend):
    """Executes runs through any other launcher of Hydra, which composes each run once more."""

    launcher: Launcher

    in_order: ClassVar[bool] = True

    def workers(self) -> int:
        return 1

    def run(self, lines: Sequence[str]) -> Generator[tuple[int, Outcome], None, None]:
        batch = [RunSpec.from_json(line).overrides for line in lines]
        for number, job in enumerate(self.launcher.launch(batch, 0)):
            yield number, job.return_value
