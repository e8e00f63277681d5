"""Command line: composes conf/ into a Point and has it carried out. With launch/ all that knows
Hydra; no torch."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from harness.launch.error_messages import refusing
from harness.launch.execute_lazy import attempt, carry_out
from harness.launch.paths import CONF
from harness.launch.run_spec import point_of
from harness.run_folder.outcome import Outcome
from harness.system.names import visible
from harness.system.signals import speaks


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> Outcome:
    """One run of the command line."""
    return _carry_out(cfg, "run")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def analyse(cfg: DictConfig) -> Outcome:
    """One sensitivity analysis of the command line."""
    return _carry_out(cfg, "analyse")


def _carry_out(cfg: DictConfig, command: str) -> Outcome:
    hydra_config = HydraConfig.get()
    with refusing():
        point = point_of(cfg, hydra_config, command)
        if hydra_config.mode == RunMode.MULTIRUN:  # by a launcher that is not ours
            return attempt(point)
        outcome = carry_out(point)
    if speaks() and cfg.progress != "none":
        why = f" ({outcome.reason}; rerun=always redoes it)" if outcome.reason else ""
        print(visible(f"{outcome.state}: {outcome.folder}{why}"))
    return outcome
