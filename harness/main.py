"""Command line: turns conf/ into an Experiment and runs it. With launch/ all that knows Hydra."""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from harness.distributed import is_main_process, ranks_of_environment
from harness.environment import numerics_key
from harness.experiment import Experiment
from harness.identity import (
    DENSE,
    OPERATIONAL,
    Config,
    dense_hash,
    run_hash,
    scientific,
    setting_hash,
)
from harness.launch.build import build_part
from harness.launch.code import code_of
from harness.launch.errors import refusing
from harness.launch.method import method_of
from harness.launch.paths import CONF
from harness.launch.sweep import report_outcome
from harness.prefix import Shared
from harness.records import Identity
from harness.runs import Outcome, Run
from harness.sensitivity.analysis import Analysis


def build(cfg: DictConfig) -> Experiment:
    """Instantiates every part once; an unknown or missing key fails here, with its full name."""
    science = OmegaConf.create(
        {key: value for key, value in _plain(cfg).items() if key not in OPERATIONAL}
    )
    experiment: Experiment = build_part(science)
    return experiment


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One run of the command line, or one point of a sweep."""
    _carry_out(cfg, run)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def analyse(cfg: DictConfig) -> None:
    """One sensitivity analysis of the command line, or one point of a sweep."""
    _carry_out(cfg, lambda cfg: _execute(cfg, _analysis_of))


def _carry_out(cfg: DictConfig, work: Callable[[DictConfig], Outcome]) -> None:
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        report_outcome(lambda: work(cfg))
        return
    with refusing(), _heard(cfg):
        outcome = work(cfg)
    if is_main_process() and cfg.progress != "none":
        why = f" ({outcome.reason}; rerun=always redoes it)" if outcome.reason else ""
        print(f"{outcome.state}: {outcome.folder}{why}")


class _OnStderr(logging.Handler):
    """What parts say of themselves, such as the memory that a saliency needs; each thing once."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self.said:
            print(f"harness: {line}", file=sys.stderr)
        self.said.add(line)


@contextmanager
def _heard(cfg: DictConfig) -> Iterator[None]:
    """Inside, rank 0 passes on what parts say, unless progress is none."""
    logger, handler = logging.getLogger("harness"), _OnStderr()
    if not is_main_process() or cfg.progress == "none":
        yield
        return
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def run(cfg: DictConfig) -> Outcome:
    """Builds the experiment and runs it in its folder, on as many ranks as torchrun started."""
    return _execute(cfg, _run_of)


def _execute(cfg: DictConfig, run_of: Callable[[DictConfig, Config], Run]) -> Outcome:
    if not isinstance(cfg.threads, int) or cfg.threads < 1:
        raise ValueError(f"threads must be a whole number >= 1, got {cfg.threads!r}")
    torch.set_num_threads(cfg.threads)
    experiment = build(cfg)
    with ranks_of_environment(cfg.device, build_part(cfg.ranks)) as ranks:
        return run_of(cfg, numerics_key(ranks)).execute(experiment, ranks)


def _run_of(cfg: DictConfig, numerics: Config) -> Run:
    hydra_config = HydraConfig.get()
    choices = {str(group): str(name) for group, name in hydra_config.runtime.choices.items()}
    config = _plain(cfg)
    science = scientific(config, _sha256_of(cfg.weights))
    name, label = method_of(choices, config, hydra_config)
    identity = Identity(
        run=run_hash(science)[:12],
        setting=setting_hash(science),
        method=name,
        label=label,
        model=choices["model"],
        data=choices["data"],
    )
    runs = Path(cfg.runs)
    code = code_of({key: science.get(key) for key in DENSE}, levels=False)
    dense = dense_hash(science, {**numerics, "code": code})
    return Run(
        folder=runs / cfg.sweep_name / identity.run[:2] / f"{cfg.name}-{identity.run}",
        dense=runs / ".dense" / dense[:2] / dense,
        identity=identity,
        config=config,
        science=science,
        yaml=OmegaConf.to_yaml(cfg, resolve=True),
        tracking=build_part(cfg.tracking),
        progress="none" if hydra_config.mode == RunMode.MULTIRUN else cfg.progress,
        sweep_name=cfg.sweep_name,
        policy=build_part(cfg.checkpoint),
        rerun=cfg.rerun,
        code=code_of(science),
    )


def shared_of(
    runs: Path,
    science: Config,
    asked: Sequence[float | None],
    numerics: Config,
    marked: Iterable[str],
) -> Shared:
    """What a run may take from others, and leave to them; arguments as of Shared.of."""
    return Shared.of(runs / ".stages", science, asked, marked, numerics, code_of)


def _analysis_of(cfg: DictConfig, numerics: Config) -> Analysis:
    run, choices = _run_of(cfg, numerics), HydraConfig.get().runtime.choices
    grid = run.config["sensitivity"]["grid"]
    analysis = Analysis.of(run, grid, choices["saliency"], choices["structure"])
    return replace(analysis, code=code_of(analysis.science))


def _plain(cfg: DictConfig) -> dict[str, Any]:
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def _sha256_of(weights: str | None) -> str | None:
    if weights is None:
        return None
    path = Path(weights)
    if not path.is_file():
        raise ValueError(f"weights={weights}: there is no such file; give a path or null")
    return hashlib.sha256(path.read_bytes()).hexdigest()
