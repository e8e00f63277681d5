"""Defines the sweepers of this project, for grids and searches, and registers its Hydra plugins."""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from harness.launch.backends.base import Backend
from harness.launch.backends.hydra_launcher import HydraLauncherBackend
from harness.launch.compose import check_config_names, config_folders, nulls_as_deletions
from harness.launch.config.check import check_config, check_plugins
from harness.launch.digests.data import DigestOf, cached_digest, with_data_digests
from harness.launch.error_messages import exit_on_expected_errors
from harness.launch.run_spec import RunSpec, sweep_folder
from harness.launch.sweeps import optuna_search, sweep
from harness.launch.sweeps.earlier_plans import load_or_create, plan_key
from harness.launch.sweeps.grid import compose_runs, effective
from harness.launch.sweeps.hydra_launchers import LauncherPlugin, Local, Slurm
from harness.launch.sweeps.plan import Plan, check_same_sweep
from harness.launch.sweeps.planned_run import plan_runs
from harness.launch.sweeps.rehearsed import rehearse_sets
from harness.launch.variables import plain
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.system.atomic_files import write_json

SEARCH_ONLY_RUNS = (
    "hydra/sweeper=search takes neither the command sensitivity nor launch.action; start it again "
    "with the same command, which also retries failed runs"
)
ROOT = "hydra_plugins"  # Hydra takes plugins of this root package only
PACKAGE = f"{ROOT}.pruning_harness"


class Grid(Sweeper):
    """Sweeps over every combination of the values in a grid, from a plan that is made once."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None):
        self.params = params or {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.loader, self.master, self.values = hydra_context.config_loader, config, plain(config)
        self.command = task_function.__name__  # of harness/cli/hydra_main.py
        with exit_on_expected_errors():
            check_plugins(config.hydra)
            check_config(self.values, config.hydra.runtime.choices)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        own = launcher.backend() if isinstance(launcher, LauncherPlugin) else None
        self.backend: Backend = own or HydraLauncherBackend(launcher)

    def sweep(self, arguments: list[str]) -> None:
        launch = self.values["launch"]
        with exit_on_expected_errors():
            plan = self._planned(_without_action(arguments))
            runs = sweep.Sweep(plan, self.backend, launch["retries"], launch["action"])
            status = sweep.print_summary(runs.run()) if launch["action"] != "plan" else runs.write()
        if status:
            sys.exit(status)

    def _planned(self, arguments: list[str]) -> Plan:
        action = self.values["launch"]["action"]
        try:
            plan = self.plan(arguments)
            if action == "retry_failed":
                return plan
            return rehearse_sets(plan, self.backend, plan_only=action == "plan")
        except BaseException:
            self.backend.close()
            raise

    def plan(self, arguments: Sequence[str]) -> Plan:
        """Returns the plan in the sweep's folder, or a new one if configs or code have changed."""
        overrides = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        folder = sweep_folder(self.values)
        hydra = self.master.hydra
        sources = config_folders(hydra)
        check_config_names(sources)
        key = plan_key([*hydra.overrides.hydra, *overrides], self.command, sources)
        file = folder / HOME / f"plan-{key}.jsonl"
        plan = load_or_create(file, lambda: self._new(file, folder, overrides))
        return plan.with_data(self._digest(len(plan.runs)))

    def _digest(self, runs: int) -> DigestOf:
        """Returns the function for digests of data; data are not read for a plan alone."""
        if self.values["launch"]["action"] == "plan":
            return lambda spec: cached_digest(spec.config)
        return lambda spec: cached_digest(spec.config) or self.backend.digest(spec.to_json(), runs)

    def _new(self, file: Path, folder: Path, given: list[str]) -> Plan:
        overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(given)
        (lists,) = BasicSweeper.split_arguments(effective(overrides), None)
        batch = [nulls_as_deletions(overrides_of_run) for overrides_of_run in lists]
        if not batch:
            empty = [str(each.input_line) for each in overrides if _names_nothing(each)]
            raise ValueError(f"{', '.join(empty)}: it names no value; write e.g. range(0,3) or 0,1")
        if self.values["launch"]["action"] == "run":
            self.backend.prestart(len(batch))
        specs = compose_runs(batch, self.master, self.loader, self.command)
        read = with_data_digests(specs, self._digest(len(batch)))
        return self._plan(file, folder, check_same_sweep(folder, read), batch)

    def _plan(
        self, file: Path, folder: Path, specs: Iterable[tuple[int, RunSpec]], batch: list[list[str]]
    ) -> Plan:
        name = self.master.hydra.runtime.choices.get("sweep")
        argv = _without_action(sys.argv[1:])
        runs = plan_runs(specs, batch, self.values["launch"]["share_stages"])
        return Plan(file, name or "", folder, argv, runs)


class Search(Grid):
    """Sweeps over values that Optuna proposes; see harness.launch.sweeps.optuna_search."""

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
                raise ValueError(SEARCH_ONLY_RUNS)
            search = optuna_search.Search(*self.size)
            given = [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
            overrides = OverridesParser.create(config_loader=self.loader).parse_overrides(given)
            for _ in search.batches(overrides, lambda batch: self._run_batch(folder, batch)):
                write_json(folder / "search.json", search.result())
        print(search.line(), flush=True)
        if search.failed:
            sys.exit(1)

    def _run_batch(self, folder: Path, batch: list[list[str]]) -> list[Outcome]:
        composed = compose_runs(batch, self.master, self.loader)
        read = with_data_digests(composed, self._digest(len(batch)))
        specs = dict(read)
        file = folder / HOME / "plan-search.jsonl"
        plan = self._plan(file, folder, specs.items(), batch)
        ended = sweep.Sweep(plan, self.backend, self.values["launch"]["retries"]).run()
        outcomes = {run.folder: outcome for run, outcome in ended}
        return [outcomes[str(specs[number].folder)] for number in range(len(batch))]


def _names_nothing(override: Override) -> bool:
    return override.is_sweep_override() and not any(True for _ in override.sweep_iterator())


def _without_action(arguments: Sequence[str]) -> list[str]:
    """Drops launch.action: it does not change the plan."""
    return [text for text in arguments if not text.startswith("launch.action=")]


def register() -> None:
    """Registers the plugins with Hydra, under the names in conf/hydra/."""
    try:
        import_module(ROOT)
    except ModuleNotFoundError:  # no other plugin is installed
        sys.modules[ROOT] = root = ModuleType(ROOT)
        root.__path__ = []
    home = sys.modules[PACKAGE] = ModuleType(PACKAGE)
    for plugin in (Grid, Search, Local, Slurm):
        named = type(plugin.__name__, (plugin,), {"__module__": PACKAGE})
        setattr(home, plugin.__name__, named)
        Plugins.instance().register(named)
