"""Carries out a point: where plain data become parts, and parts a run. The part of launch/ that
needs torch; the others import it where the work is done, not before."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from harness.distributed import Ranks, ranks_of_environment
from harness.distributed.announced import listen
from harness.experiment.experiment import Experiment
from harness.experiment.layer_analysis import Analysis
from harness.experiment.run import Run
from harness.experiment.runner import prepare
from harness.launch.digests.code import code_of
from harness.launch.digests.data import named
from harness.launch.instantiate import build_part
from harness.launch.log_handler import print_log_messages
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.run_cost import Cost
from harness.launch.variables import unresolved
from harness.model_state.whole_state import whole_state
from harness.run_folder.environment import numerics_key
from harness.run_folder.identity import DENSE, OPERATIONAL, Config, dense_hash, setting_hash
from harness.run_folder.outcome import Outcome
from harness.run_folder.records import Identity
from harness.run_folder.stage_keys import SharedStages
from harness.system.errors import RanksDisagree
from harness.system.loaded_sources import aside, unnamed
from harness.training.context import Hooks
from harness.vocabulary.checks import check
from harness.vocabulary.step_index import StepIndex

BENCHMARK_STEPS = 16  # steps
ONE_SHOT = {"_target_": "harness.schedule.one_shot.OneShot", "final": 1.0}


@aside()
def execute_run(point: RunSpec) -> Outcome:
    """On as many ranks as a launcher started, of which this process is one.

    Raises:
        ValueError, OmegaConfBaseException, HydraException: wrong input.
        harness.launch.error_messages.FAILURES: what else is told in one line.
        Stopped: a signal asked for it, and the run has saved itself.
    """
    config, values = point.config, point.values
    threads = values["threads"]
    check("threads", threads, "a whole number >= 1")
    torch.set_num_threads(threads)
    if "RANK" in os.environ:
        listen()  # before parts are imported
    with print_log_messages(values["progress"]):
        experiment = build(_alone(config) if point.command == "analyse" else config)
        point = named(point, experiment.data)
        options = _part(config, "ranks")
        with ranks_of_environment(values["device"], options) as ranks:
            check_same_on_ranks(point, ranks)
            run = _run_of(point, experiment, ranks)
            if point.command == "dense":
                return run.train_dense(experiment, ranks)
            if point.command == "analyse":
                return _analyse(_analysis(run, point), experiment, ranks)
            return run.execute(experiment, ranks)


def _analyse(analysis: Analysis, experiment: Experiment, ranks: Ranks) -> Outcome:
    """Rank 0 prints the table, also if the analysis was finished before."""
    outcome = analysis.execute(experiment, ranks)
    if analysis.progress != "none":
        ranks.on_main(lambda: _show(analysis.folder))
    return outcome


def _show(folder: Path) -> None:
    # Here, not above: every other command would wait for pandas too.
    from harness.report.read.layer_curves import load, print_tables

    print_tables(load(folder))


def check_same_on_ranks(point: RunSpec, ranks: Ranks) -> None:
    """
    Raises:
        RanksDisagree: on every rank, if they read different data, have loaded different code, or
            see other values of variables that the config names.
    """
    values = point.run if point.reads_environment else ""
    code = " ".join([point.code, *sorted(unnamed().values())])
    found = ranks.all_gather_object(
        {"data": point.data_sha256, "code": code, "environment": values}
    )
    for what in ("data", "code", "environment"):
        groups: dict[str | None, list[int]] = {}
        for rank, each in enumerate(found):
            groups.setdefault(each[what], []).append(rank)
        if len(groups) > 1:
            differ = " and ".join(f"ranks {ranks}" for ranks in groups.values())
            of = "values of variables" if what == "environment" else "files"
            raise RanksDisagree(
                f"{what}: {differ} have different {of}; give all of them the same ones"
            )


def benchmark_run(point: RunSpec) -> Cost:
    """By some steps of dense training in one process; evaluations and prunings come on top."""
    values = point.values
    torch.set_num_threads(values["threads"])
    experiment = build(point.config)
    with ranks_of_environment(values["device"], _part(point.config, "ranks")) as ranks:
        context, state = prepare(experiment, ranks, Path())
        recipe, training = experiment.training, context.workload.training_context(0)
        steps = recipe.steps_per_epoch(len(training.split))
        recipe.fit(state.model, training, Hooks(), stop=StepIndex(0, 1))  # the first ones import
        began = time.perf_counter()
        recipe.fit(state.model, training, Hooks(), stop=StepIndex(0, min(steps, BENCHMARK_STEPS)))
        seconds = (time.perf_counter() - began) * steps / min(steps, BENCHMARK_STEPS)
    whole, masks = whole_state(state.model).values(), state.masks.masks.values()
    size = sum(each.nbytes for each in whole) + sum(mask.numel() for mask in masks)
    return Cost(round(seconds, 4), round(size / 1e6 + 0.1, 3))


def _alone(config: Config) -> Config:
    """An analysis prunes each layer of one network: whatever the schedule, it comes to no level 2,
    so that "init" can score no trained weights but given ones."""
    given = config["weights"] is not None
    return {
        **config,
        "schedule": ONE_SHOT,
        "rescore_trained": given and config["rescore_trained"],
    }


def build(config: DictConfig | Config) -> Experiment:
    """Instantiates every part once; an unknown or missing key fails here, with its full name."""
    whole: Config = unresolved(config) if isinstance(config, DictConfig) else config
    hashed_config = {key: value for key, value in whole.items() if key not in OPERATIONAL}
    experiment: Experiment = build_part(hashed_config)
    return experiment


def _part(config: Config, key: str) -> Any:
    """Below its key, which errors name."""
    return build_part({key: config[key]})[key]


def _run_of(point: RunSpec, experiment: Experiment, ranks: Ranks) -> Run:
    config, values, hashed_config = point.config, point.values, point.hashed_config
    numerics = numerics_key(ranks)
    code = code_of({key: hashed_config.get(key) for key in DENSE})
    dense = dense_hash(hashed_config, {**numerics, "code": code})
    return Run(
        folder=point.folder,
        dense=Path(values["output_dir"]) / ".cache/dense" / dense[:2] / dense,
        identity=_identity(point, experiment),
        config=config,
        hashed_config=hashed_config,
        written=point.written,
        yaml=OmegaConf.to_yaml(OmegaConf.create(config)),
        tracking=_part(config, "tracking"),
        progress=values["progress"],
        sweep_name=values["sweep_name"],
        policy=_part(config, "checkpoint"),
        latency=_part(config, "latency"),
        rerun=values["rerun"],
        code=point.code,
        command=tuple(point.command_line),
        shared=_shared(point, numerics) if point.shared_stages else None,
    )


def _shared(point: RunSpec, numerics: Config) -> SharedStages:
    home = Path(point.values["output_dir"]) / ".cache/stages"
    return SharedStages.of(
        home, point.hashed_config, point.requested, point.shared_stages, numerics, code_of
    )


def _identity(point: RunSpec, experiment: Experiment) -> Identity:
    return Identity(
        run=point.run,
        setting=setting_hash(point.hashed_config),
        method=point.method,
        label=point.label,
        model=point.choices["model"],
        data=point.choices["data"],
        model_published_as=_published_as(experiment.model),
        data_published_as=_published_as(experiment.data),
    )


def _published_as(part: object) -> str | None:
    """
    Raises:
        ValueError: the part declares something else than a name.
    """
    name = getattr(part, "published_as", None)
    if name is not None and (not isinstance(name, str) or not name):
        raise ValueError(
            f"{type(part).__name__}.published_as must be the name in the literature, as mnist, or "
            f"None, got {name!r}"
        )
    return name


def _analysis(run: Run, point: RunSpec) -> Analysis:
    grid = point.values["sensitivity"]["grid"]
    choices = point.choices
    analysis = Analysis.of(run, grid, choices["saliency"], choices["structure"])
    return replace(analysis, code=code_of(analysis.hashed_config))
