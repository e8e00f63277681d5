"""Composes grids in this process, without a sweep: by the harness, and by Hydra alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode

from harness.data.shared.digest import digest
from harness.launch.compose import nulls_as_deletions
from harness.launch.digests.data import with_data_digests
from harness.launch.instantiate import build_part
from harness.launch.paths import CONF
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.grid import compose_runs, effective
from harness.launch.sweeps.hydra_plugins import register
from harness.launch.sweeps.planned_run import PlannedRun, plan_runs
from harness.launch.variables import plain
from harness.run_folder.identity import Config

TINY = (
    "data=blobs", "model=mlp", "training.epochs=2", "retraining.epochs=1", "schedule=one_shot",
    "tracking=none",
)  # fmt: skip


@contextmanager
def loading() -> Iterator[ConfigLoader]:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def batch_of(*grid: str) -> list[list[str]]:
    """Lists of overrides, one for each point."""
    said = effective(OverridesParser.create().parse_overrides(list(grid)))
    (batch,) = BasicSweeper.split_arguments(said, None)
    return [nulls_as_deletions(overrides) for overrides in batch]


def points_of(batch: list[list[str]], command: str = "run") -> list[RunSpec]:
    with loading() as loader:
        master = loader.load_configuration("config", [], RunMode.MULTIRUN)
        return [point for _, point in sorted(compose_runs(batch, master, loader, command))]


def planned_of(*grid: str) -> list[PlannedRun]:
    """Returns the runs that a sweep `pruning-harness -m GRID` plans."""
    batch = batch_of(*grid)
    found = with_data_digests(enumerate(points_of(batch)), lambda point: content_of(point.config))
    return plan_runs(found, batch)


def content_of(config: Config) -> str:
    """Returns the digest of a config's data; nothing is cached."""
    return digest(build_part(config["data"]).load())


def by_hydra(overrides: list[str]) -> Config:
    with loading():
        return plain(compose("config", overrides, return_hydra_config=True))
