"""Hydra's plugins of this project: sweepers for grids and searches, a launcher for this machine."""

import sys
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from joblib import cpu_count
from omegaconf import DictConfig, OmegaConf

from harness.launch.backends.base import Engine
from harness.launch.backends.gpu_slots import devices_of
from harness.launch.backends.local import Workers
from harness.launch.backends.local_ranks import count_of
from harness.launch.backends.slurm import Jobs
from harness.launch.backends.slurm_options import Asked, lines_of_shell
from harness.launch.compose import check_config_names, config_folders, nulls_as_deletions
from harness.launch.digests.data import DigestOf, kept_digest, with_data
from harness.launch.error_messages import RunFailed, exit_on_expected_errors
from harness.launch.run_spec import RunSpec, sweep_folder
from harness.launch.sweeps import optuna_search, sweep
from harness.launch.sweeps.earlier_plans import key_of, remembered
from harness.launch.sweeps.grid import effective, points
from harness.launch.sweeps.plan import Plan, inside
from harness.launch.sweeps.planned_run import planned
from harness.launch.variables import plain, unresolved
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.system.atomic_files import write_json
from harness.system.names import check_name

PACKAGE = "hydra_plugins.pruning_harness"  # Hydra takes plugins of that root package only


class Grid(Sweeper):
    """Every combination of the values in a grid, from a plan that is made once."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None):
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.loader, self.master, self.values = hydra_context.config_loader, config, plain(config)
        self.command = task_function.__name__  # of harness/cli/hydra_main.py
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.engine = launcher.engine() if isinstance(launcher, Own) else Other(launcher)

    def sweep(self, arguments: list[str]) -> None:
        launch = self.values["launch"]
        with exit_on_expected_errors():
            plan = self._planned(_without_action(arguments))
            found = sweep.Sweep(plan, self.engine, launch["retries"], launch["action"])
            status = sweep.end(found.run()) if launch["action"] != "plan" else found.write()
        if status:
            sys.exit(status)

    def _planned(self, arguments: list[str]) -> Plan:
        try:
            return self.plan(arguments)
        except BaseException:
            self.engine.close()
            raise

    def plan(self, arguments: Sequence[str]) -> Plan:
        """From the file in the sweep's folder, unless configs or code have changed."""
        said = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        folder = sweep_folder(self.values)
        hydra = self.master.hydra
        sources = config_folders(hydra)
        check_config_names(sources)
        key = key_of([*hydra.overrides.hydra, *said], self.command, sources)
        file = folder / HOME / f"plan-{key}.jsonl"
        plan = remembered(file, lambda: self._new(file, folder, said))
        return plan.with_data(self._digest(len(plan.points)))

    def _digest(self, points: int) -> DigestOf:
        """Data that have not been read are read now, but not for a plan alone."""
        if self.values["launch"]["action"] == "plan":
            return lambda point: kept_digest(point.config)
        return lambda point: (
            kept_digest(point.config) or self.engine.digest(point.to_json(), points)
        )

    def _new(self, file: Path, folder: Path, said: list[str]) -> Plan:
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(said)
        (lists,) = BasicSweeper.split_arguments(effective(overrides), None)
        batch = [nulls_as_deletions(each) for each in lists]
        if self.values["launch"]["action"] == "run":
            self.engine.warm(len(batch))
        found = points(batch, self.master, self.loader, self.command)
        read = with_data(found, self._digest(len(batch)))
        return self._plan(file, folder, inside(folder, read), batch)

    def _plan(
        self, file: Path, folder: Path, found: Iterable[tuple[int, RunSpec]], batch: list[list[str]]
    ) -> Plan:
        name = self.master.hydra.runtime.choices.get("sweep")
        argv = _without_action(sys.argv[1:])
        points = planned(found, batch, self.values["launch"]["share_stages"])
        return Plan(file, name or "", folder, argv, points)


class Search(Grid):
    """Runs whose values Optuna proposes; see harness.launch.sweeps.optuna_search."""

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        trials: int = 20,
        batch_size: int = 4,
        seed: int = 0,
    ):
        super().__init__(max_batch_size, params)
        self.size = trials, batch_size, seed

    def sweep(self, arguments: list[str]) -> None:
        with exit_on_expected_errors():
            folder = sweep_folder(self.values)
            if self.command != "run" or self.values["launch"]["action"] != "run":
                raise ValueError("a search is of runs, and starts failed ones again by itself")
            found = optuna_search.Search(*self.size)
            said = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
            overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(said)
            for _ in found.batches(overrides, lambda batch: self._carried_out(folder, batch)):
                write_json(folder / "search.json", found.result())
        print(found.line(), flush=True)
        if found.failed:
            sys.exit(1)

    def _carried_out(self, folder: Path, batch: list[list[str]]) -> list[Outcome]:
        read = with_data(points(batch, self.master, self.loader), self._digest(len(batch)))
        found = dict(read)
        file = folder / HOME / "plan-search.jsonl"
        plan = self._plan(file, folder, found.items(), batch)
        ended = sweep.Sweep(plan, self.engine, self.values["launch"]["retries"]).run()
        outcomes = {each.folder: outcome for each, outcome in ended}
        return [outcomes[str(found[number].folder)] for number in range(len(batch))]


class Own(Launcher):
    """Hands points, not overrides, to an engine; for other sweepers it composes them first."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.config = hydra_context, config
        self.command = task_function.__name__  # of harness/cli/hydra_main.py

    def engine(self) -> Engine:
        raise NotImplementedError

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        with exit_on_expected_errors():
            found = points(job_overrides, self.config, self.context.config_loader, self.command)
            engine, count = self.engine(), len(job_overrides)
            read = with_data(
                found, lambda p: kept_digest(p.config) or engine.digest(p.to_json(), count)
            )
            lines = [point.to_json() for _, point in sorted(read, key=lambda pair: pair[0])]
            ended = dict(engine.outcomes(lines))
        return [_returned(RunSpec.from_json(line), ended[n]) for n, line in enumerate(lines)]


class Local(Own):
    def __init__(self, n_jobs: int = -1):
        self.n_jobs = n_jobs

    def engine(self) -> Engine:
        config = plain(self.config)
        with exit_on_expected_errors():
            devices, ranks = devices_of(config), count_of(config)
            cores = self.n_jobs == -1 and ranks > 1 and not devices.places
            return Workers(max(1, cpu_count() // ranks) if cores else self.n_jobs, devices)


class Slurm(Own):
    """Fields as conf/hydra/launcher/slurm.yaml explains them."""

    def __init__(self, **fields: Any):
        self.fields = plain(OmegaConf.create(fields))

    def engine(self) -> Engine:
        values = plain(self.config)
        setup = unresolved(self.config.hydra.launcher).get("setup")
        asked = Asked.of({**self.fields, "setup": lines_of_shell(setup)})
        count = values["launch"]["ranks_per_run"]
        if asked.ranks > 1 and count not in (1, asked.ranks):
            raise ValueError(
                f"launch.ranks_per_run={count}, but a job has {asked.ranks} ranks "
                "(hydra.launcher.nodes x "
                "hydra.launcher.tasks_per_node); leave one of the two away"
            )
        folder = sweep_folder(values) / HOME / "jobs"
        return Jobs(folder.absolute(), asked, check_name("run_name", values["run_name"]))


@dataclass(frozen=True)
class Other(Engine):
    """Any other launcher of Hydra's; it composes each point once more."""

    launcher: Launcher

    in_order: ClassVar[bool] = True

    def workers(self) -> int:
        return 1

    def outcomes(self, lines: Sequence[str]) -> Generator[tuple[int, Outcome], None, None]:
        batch = [RunSpec.from_json(line).overrides for line in lines]
        for number, job in enumerate(self.launcher.launch(batch, 0)):
            yield number, job.return_value


def _without_action(arguments: Sequence[str]) -> list[str]:
    """A plan is the same whatever shall be done with it."""
    return [text for text in arguments if not text.startswith("launch.action=")]


def register() -> None:
    """Makes them known to Hydra, by the names that conf/hydra/ has."""
    home = sys.modules[PACKAGE] = ModuleType(PACKAGE)
    for plugin in (Grid, Search, Local, Slurm):
        named = type(plugin.__name__, (plugin,), {"__module__": PACKAGE})
        setattr(home, plugin.__name__, named)
        Plugins.instance().register(named)


def _returned(point: RunSpec, outcome: Outcome) -> JobReturn:
    failed = outcome.state == "failed"
    job = JobReturn(list(point.overrides), OmegaConf.create(point.config))
    job.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    job.return_value = RunFailed(outcome.reason) if failed else outcome.validation
    return job
