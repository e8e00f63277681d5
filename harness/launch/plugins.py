"""Hydra's plugins of this project: a sweeper for grids, and a launcher for this machine."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.launch import sweep
from harness.launch.devices import devices_of
from harness.launch.engine import Engine
from harness.launch.errors import refusing
from harness.launch.grid import points
from harness.launch.local import Workers
from harness.launch.plan import HOME, Plan, key_of, planned, remembered
from harness.launch.point import Point, plain
from harness.outcome import Outcome

PACKAGE = "hydra_plugins.pruning_harness"  # Hydra takes plugins of that root package only
COMMANDS = {"main": "run", "analyse": "analyse"}  # by function of harness/main.py


class Grid(Sweeper):
    """Every combination of the values in a grid, from a plan that is made once."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None):
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.loader, self.master, self.values = hydra_context.config_loader, config, plain(config)
        self.command = COMMANDS[task_function.__name__]
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.engine = launcher.engine() if isinstance(launcher, Own) else Other(launcher)

    def sweep(self, arguments: list[str]) -> None:
        launch = self.values["launch"]
        with refusing():
            plan = self.plan([text for text in arguments if not text.startswith("launch.only=")])
            found = sweep.Sweep(plan, self.engine, launch["retries"], launch["only"])
            status = sweep.end(found.run()) if launch["only"] != "plan" else found.write()
        if status:
            sys.exit(status)

    def plan(self, arguments: Sequence[str]) -> Plan:
        """From the file in the sweep's folder, unless configs or code have changed."""
        said = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        folder = Path(self.values["runs"]) / self.values["sweep_name"]
        hydra = self.master.hydra
        sources = [Path(one.path) for one in hydra.runtime.config_sources if one.schema == "file"]
        key = key_of([*hydra.overrides.hydra, *said], self.command, sources)
        file = folder / HOME / f"plan-{key}.jsonl"
        return remembered(file, lambda: self._new(file, folder, said))

    def _new(self, file: Path, folder: Path, said: list[str]) -> Plan:
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(said)
        (batch,) = BasicSweeper.split_arguments(overrides, None)
        found = points(batch, self.master, self.loader, self.command)
        name = self.master.hydra.runtime.choices.get("sweep")
        argv = [text for text in sys.argv[1:] if not text.startswith("launch.only=")]
        return Plan(
            file, name or "", folder, argv, planned(found, batch, self.values["launch"]["share"])
        )


class Own(Launcher):
    """Hands points, not overrides, to an engine; for other sweepers it composes them first."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.config = hydra_context, config
        self.command = COMMANDS[task_function.__name__]

    def engine(self) -> Engine:
        raise NotImplementedError

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        with refusing():
            found = points(job_overrides, self.config, self.context.config_loader, self.command)
            lines = [point.line() for _, point in sorted(found)]
            ended = dict(self.engine().outcomes(lines))
        return [_returned(Point.of_line(line), ended[n]) for n, line in enumerate(lines)]


class Local(Own):
    def __init__(self, n_jobs: int = -1):
        self.n_jobs = n_jobs

    def engine(self) -> Engine:
        return Workers(self.n_jobs, devices_of(plain(self.config)))


@dataclass(frozen=True)
class Other:
    """Any other launcher of Hydra's; it composes each point once more."""

    launcher: Launcher

    in_order: ClassVar[bool] = True

    def workers(self) -> int:
        return 1

    def outcomes(self, lines: Sequence[str]) -> Iterator[tuple[int, Outcome]]:
        batch = [Point.of_line(line).overrides for line in lines]
        for number, job in enumerate(self.launcher.launch(batch, 0)):
            yield number, job.return_value


def register() -> None:
    """Makes them known to Hydra, by the names that conf/hydra/ has."""
    home = sys.modules[PACKAGE] = ModuleType(PACKAGE)
    for plugin in (Grid, Local):
        named = type(plugin.__name__, (plugin,), {"__module__": PACKAGE})
        setattr(home, plugin.__name__, named)
        Plugins.instance().register(named)


def _returned(point: Point, outcome: Outcome) -> JobReturn:
    failed = outcome.state == "failed"
    job = JobReturn(list(point.overrides), OmegaConf.create(point.config))
    job.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    job.return_value = RuntimeError(outcome.reason) if failed else outcome.validation
    return job
