"""Composes conf/ into a RunSpec and executes it; imports no torch by itself."""

from collections.abc import Callable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.launch.config.check import check_plugins
from harness.launch.error_messages import exit_on_expected_errors
from harness.launch.execute_lazy import executor, try_execute
from harness.launch.paths import CONF
from harness.launch.run_spec import build_run_spec
from harness.run_folder.outcome import Outcome
from harness.system.names import printable
from harness.system.signals import is_rank_zero


def _task(command: str) -> Callable[[], Any]:
    """Returns what Hydra calls for a command; its name tells the sweeper the command."""

    def task(cfg: DictConfig) -> Outcome:
        in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN  # started by another Hydra launcher
        with exit_on_expected_errors():
            check_plugins(HydraConfig.get())
            spec = build_run_spec(cfg, HydraConfig.get(), command)
            if not in_sweep:
                _check_action(cfg.launch.action)
            execute = try_execute if in_sweep else executor(spec)
            outcome = execute(spec)
        if is_rank_zero() and not in_sweep:
            print(printable(_last_line(outcome, cfg.progress)))
        return outcome

    task.__name__ = command
    entry: Callable[[], Any] = hydra.main(str(CONF), "config", version_base="1.3")(task)
    return entry


def _check_action(action: str) -> None:
    if action != "run":
        raise ValueError(
            f"launch.action={action} is for sweeps: start it with -m, or write launch.action=run"
        )


def _last_line(outcome: Outcome, progress: str) -> str:
    """Returns state and folder; with progress=none, for scripts, the folder alone."""
    if progress == "none":
        return outcome.folder
    reason = f" ({outcome.reason}; rerun=always redoes it)" if outcome.reason else ""
    return f"{outcome.state}: {outcome.folder}{reason}"


run, analyse, measure = _task("run"), _task("analyse"), _task("measure")
