"""Composes conf/ into a RunSpec and has it carried out; no torch."""

from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.launch.error_messages import exit_on_expected_errors
from harness.launch.execute_lazy import executor, try_execute
from harness.launch.paths import CONF
from harness.launch.run_spec import RunSpec, build_run_spec
from harness.run_folder.outcome import Outcome
from harness.system.names import visible
from harness.system.signals import is_rank_zero


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def run(cfg: DictConfig) -> Outcome:
    """One run of the command line."""
    with exit_on_expected_errors():
        point, execute = _begun(cfg, "run")
        outcome = execute(point)
    return _told(cfg, outcome)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def analyse(cfg: DictConfig) -> Outcome:
    """One sensitivity analysis of the command line."""
    with exit_on_expected_errors():
        point, execute = _begun(cfg, "analyse")
        outcome = execute(point)
    return _told(cfg, outcome)


def _begun(cfg: DictConfig, command: str) -> tuple[RunSpec, Callable[[RunSpec], Outcome]]:
    point = build_run_spec(cfg, HydraConfig.get(), command)
    return point, try_execute if _is_of_a_sweep() else executor(point)


def _told(cfg: DictConfig, outcome: Outcome) -> Outcome:
    if is_rank_zero() and cfg.progress != "none" and not _is_of_a_sweep():
        why = f" ({outcome.reason}; rerun=always redoes it)" if outcome.reason else ""
        print(visible(f"{outcome.state}: {outcome.folder}{why}"))
    return outcome


def _is_of_a_sweep() -> bool:
    """Whether a launcher that is not ours has started this point."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
