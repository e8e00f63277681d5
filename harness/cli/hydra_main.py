"""Composes conf/ into a RunSpec and executes it; imports no torch by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.extras import check_extra
from harness.launch.config.check import check_plugins
from harness.launch.error_messages import exit_on_expected_errors
from harness.launch.execute_lazy import executor, try_execute
from harness.launch.paths import CONF
from harness.launch.run_spec import RunSpec, build_run_spec
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


def _shrink(cfg: DictConfig) -> None:
    """Prunes each group alone, makes the smaller network, and prints both beside each other."""
    from harness.report.before_after import before_and_after

    hydra_config = HydraConfig.get()
    with exit_on_expected_errors():
        check_plugins(hydra_config)
        _check_action(cfg.launch.action)
        specs = [build_run_spec(cfg, hydra_config, command) for command in ("analyse", "run")]
        _check_shrinks(specs[1])
        for spec in specs:
            outcome = executor(spec)(spec)
            if cfg.progress != "none":
                print(printable(_last_line(outcome, cfg.progress)))
        for line in before_and_after(Path(outcome.folder)):
            print(printable(line))


def _check_shrinks(spec: RunSpec) -> None:
    """Checks what the second of two steps needs, before the first takes its time."""
    if spec.values["compact"] == "never":
        raise ValueError("compact=never leaves the network as large as it is; write compact=levels")
    if "onnx" in spec.values["export"]:
        check_extra("export", "export=[onnx]", remedy=", or write export=[torch_export]")


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
shrink: Callable[[], Any] = hydra.main(str(CONF), "config", version_base="1.3")(_shrink)
