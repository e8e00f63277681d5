"""Defines the launchers of this project as Hydra plugins: local workers, and SLURM."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.launch.backends.base import Backend
from harness.launch.backends.gpu_slots import devices_of
from harness.launch.backends.local import LocalBackend
from harness.launch.backends.local_ranks import rank_count
from harness.launch.backends.slurm import SlurmBackend
from harness.launch.backends.slurm_options import SlurmOptions, shell_lines
from harness.launch.digests.data import cached_digest, with_data_digests
from harness.launch.error_messages import RunFailed, exit_on_expected_errors
from harness.launch.run_spec import RunSpec, sweep_folder
from harness.launch.sweeps.grid import compose_runs
from harness.launch.variables import plain, unresolved
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.system.hardware import core_count
from harness.system.names import check_name


class LauncherPlugin(Launcher):
    """Hands runs, not overrides, to a backend; for other sweepers it composes them first."""

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.context, self.config = hydra_context, config
        self.command = task_function.__name__  # of harness/cli/hydra_main.py

    def backend(self) -> Backend:
        raise NotImplementedError

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        with exit_on_expected_errors():
            loader = self.context.config_loader
            specs = compose_runs(job_overrides, self.config, loader, self.command)
            backend, count = self.backend(), len(job_overrides)
            read = with_data_digests(
                specs, lambda p: cached_digest(p.config) or backend.digest(p.to_json(), count)
            )
            lines = [spec.to_json() for _, spec in sorted(read, key=lambda pair: pair[0])]
            ended = dict(backend.run(lines))
        return [_returned(RunSpec.from_json(line), ended[n]) for n, line in enumerate(lines)]


class Local(LauncherPlugin):
    def __init__(self, n_jobs: int = -1):
        self.n_jobs = n_jobs

    def backend(self) -> Backend:
        config = plain(self.config)
        with exit_on_expected_errors():
            devices, ranks = devices_of(config), rank_count(config)
            cores = self.n_jobs == -1 and ranks > 1 and not devices.slots
            return LocalBackend(max(1, core_count() // ranks) if cores else self.n_jobs, devices)


class Slurm(LauncherPlugin):
    """Launches jobs of SLURM; conf/hydra/launcher/slurm.yaml explains the fields."""

    def __init__(self, **fields: Any):
        self.fields = plain(OmegaConf.create(fields))

    def backend(self) -> Backend:
        values = plain(self.config)
        setup = unresolved(self.config.hydra.launcher).get("setup")
        options = SlurmOptions.of({**self.fields, "setup": shell_lines(setup)})
        count = values["launch"]["ranks_per_run"]
        if options.ranks > 1 and count not in (1, options.ranks):
            raise ValueError(
                f"launch.ranks_per_run={count} conflicts with the {options.ranks} ranks of a "
                "job (hydra.launcher.nodes x tasks_per_node); remove launch.ranks_per_run"
            )
        folder = sweep_folder(values) / HOME / "jobs"
        return SlurmBackend(folder.absolute(), options, check_name("run_name", values["run_name"]))


def _returned(spec: RunSpec, outcome: Outcome) -> JobReturn:
    failed = outcome.state == "failed"
    job = JobReturn(list(spec.overrides), OmegaConf.create(spec.config))
    job.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
    job.return_value = RunFailed(outcome.reason) if failed else outcome.validation
    return job
