"""Executes a RunSpec: builds the experiment from plain data and runs it.

This module imports torch. The other modules of launch/ import it late, where a run is executed.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from harness.data.shared.loading import loading
from harness.delivery.formats import check_formats
from harness.distributed import Ranks, ranks_of_environment
from harness.distributed.announced import wrap_collectives
from harness.experiment.checks.given_table import check_place
from harness.experiment.experiment import Experiment
from harness.experiment.layer_analysis import Analysis, without_request
from harness.experiment.results.latency_table import TableOfLayers, check_writable
from harness.experiment.run import Run
from harness.experiment.runner import prepare
from harness.extras import check_extra
from harness.launch.config.names import identity_of
from harness.launch.digests.code import code_of
from harness.launch.digests.data import with_data_digest
from harness.launch.instantiate import build_part
from harness.launch.log_handler import print_log_messages
from harness.launch.rehearsed_parts import REHEARSED
from harness.launch.run_spec import RunSpec
from harness.launch.variables import unresolved
from harness.run_folder.environment import numerics_key
from harness.run_folder.identity import (
    DENSE,
    OPERATIONAL,
    Config,
    dense_hash,
    rehearsal_hash,
)
from harness.run_folder.outcome import Outcome
from harness.run_folder.stage_keys import SharedStages
from harness.structure.shared.hint import removing_structures
from harness.system.atomic_files import disk_errors
from harness.system.errors import RanksDisagree
from harness.system.loaded_sources import undigested_sources, without_added_paths

ONE_SHOT = {"_target_": "harness.schedule.one_shot.OneShot", "final": 1.0}


@without_added_paths()
def execute_run(spec: RunSpec) -> Outcome:
    """Executes the command of a RunSpec on this rank, one of those that a launcher started.

    Raises:
        ValueError, OmegaConfBaseException, HydraException: wrong input.
        harness.launch.error_messages.FAILURES: other errors that are printed in one line.
        Stopped: a signal has stopped the run, which has saved itself.
    """
    config, values = spec.config, spec.values
    torch.set_num_threads(values["threads"])
    if "RANK" in os.environ:
        wrap_collectives()  # before components are imported
    if spec.command == "analyse" and values["progress"] != "none":
        check_extra("report", "the table of layers", remedy=", or write progress=none")
    output = Path(values["output_dir"])
    with print_log_messages(values["progress"]), disk_errors(output):
        alone = spec.command in ("analyse", "measure")
        experiment = build(_analysis_config(config) if alone else config)
        spec = with_data_digest(spec, experiment.data)
        options = config_part(config, "ranks")
        with (
            ranks_of_environment(values["device"], options) as ranks,
            loading(values["workers"], values["hold_data"]),
        ):
            check_same_on_ranks(spec, ranks)
            if spec.command == "measure":
                return measure_layers(spec, experiment, ranks)
            REHEARSED.add(spec.rehearsed)
            run = run_of(spec, experiment, ranks)
            if spec.command == "analyse":  # which rehearses some acts only
                return _analyse(_analysis(run, spec), experiment, ranks)
            execute = run.train_dense if spec.command == "dense" else run.execute
            outcome = execute(experiment, ranks)
            if outcome.state == "finished":  # a run that is skipped is not rehearsed
                REHEARSED.add(run.parts)
            return outcome


def _analyse(analysis: Analysis, experiment: Experiment, ranks: Ranks) -> Outcome:
    """Executes the analysis; rank 0 prints the table, also if the analysis was finished before."""
    outcome = analysis.execute(experiment, ranks)
    if analysis.progress != "none":
        ranks.on_main(lambda: _print_curves(analysis.folder))
    return outcome


def _print_curves(folder: Path) -> None:
    # Imported late, because it imports pandas.
    from harness.report.read.layer_curves import load, print_tables

    print_tables(load(folder))


def measure_layers(spec: RunSpec, experiment: Experiment, ranks: Ranks) -> Outcome:
    """Writes the latency table of the model that a run starts from."""
    options = config_part(spec.config, "latency_grid")
    if ranks.world_size > 1:
        raise ValueError(
            f"latency measures in one process, and there are {ranks.world_size} ranks; start it "
            "without torchrun, with launch.ranks_per_run=1"
        )
    if not experiment.pruner.structure.removes:
        raise ValueError(
            "latency times layers without their pruned units, but this structure masks entries "
            f"inside weights, which saves no time; use structure={removing_structures()}"
        )
    check_writable(Path(options.file), options.overwrite)
    context, state = prepare(without_request(experiment), ranks, Path())
    table = TableOfLayers(context, state.model, options, spec.command_line)
    return Outcome("finished", str(table.write()))


def check_same_on_ranks(spec: RunSpec, ranks: Ranks) -> None:
    """Checks that all ranks have the same data, latency table, code and environment.

    Raises:
        RanksDisagree: on every rank, if ranks read different files, have loaded different code, or
            have other values of environment variables that the config names.
    """
    values = spec.run if spec.reads_environment else ""
    code = " ".join([spec.code, *sorted(undigested_sources().values())])
    digests = {
        "data": spec.data_sha256,
        "latency_table": spec.latency_table_sha256,
        "code": code,
        "environment": values,
    }
    gathered = ranks.all_gather_object(digests)
    for key in digests:
        groups: dict[str | None, list[int]] = {}
        for rank, of_rank in enumerate(gathered):
            groups.setdefault(of_rank[key], []).append(rank)
        if len(groups) > 1:
            differ = " and ".join(f"ranks {ranks}" for ranks in groups.values())
            kind = "values of variables" if key == "environment" else "files"
            raise RanksDisagree(f"{key}: {differ} have different {kind}; give all ranks the same")


def _analysis_config(config: Config) -> Config:
    """Returns the config of an analysis, which prunes each layer alone, at level 1.

    There is no level 2. With pruning at initialisation, trained weights are therefore scored
    only if `weights` gives them.
    """
    given = config["weights"] is not None
    return {
        **config,
        "schedule": ONE_SHOT,
        "latency_table": None,
        "rescore_trained": given and config["rescore_trained"],
    }


def build(config: DictConfig | Config) -> Experiment:
    """Builds every component once; an unknown or missing key is an error with its full name."""
    whole: Config = unresolved(config) if isinstance(config, DictConfig) else config
    hashed_config = {key: value for key, value in whole.items() if key not in OPERATIONAL}
    experiment: Experiment = build_part(hashed_config)
    return experiment


def config_part(config: Config, key: str) -> Any:
    """Returns the part below this key of a config."""
    # Nested below its key, so that errors name the key.
    return build_part({key: config[key]})[key]


def run_of(spec: RunSpec, experiment: Experiment, ranks: Ranks) -> Run:
    """Returns the run that a RunSpec describes."""
    config, values, hashed_config = spec.config, spec.values, spec.hashed_config
    check_place(experiment, ranks.device, values["latency_table_elsewhere"])
    numerics = numerics_key(ranks)
    code = code_of({key: hashed_config.get(key) for key in DENSE})
    dense = dense_hash(hashed_config, {**numerics, "code": code})
    parts = rehearsal_hash(hashed_config, values, spec.code, numerics)
    return Run(
        folder=spec.folder,
        dense=Path(values["output_dir"]) / ".cache/dense" / dense[:2] / dense,
        identity=identity_of(spec, experiment),
        config=config,
        hashed_config=hashed_config,
        written=spec.written,
        yaml=OmegaConf.to_yaml(OmegaConf.create(config)),
        tracking=config_part(config, "tracking"),
        progress=values["progress"],
        sweep_name=values["sweep_name"],
        policy=config_part(config, "checkpoint"),
        latency=config_part(config, "latency"),
        export=check_formats(values["export"]),
        rerun=values["rerun"],
        rehearse=values["rehearse"] and parts not in REHEARSED,
        parts=parts,
        code=spec.code,
        command=tuple(spec.command_line),
        shared=_shared(spec, numerics) if spec.shared_stages else None,
    )


def _shared(spec: RunSpec, numerics: Config) -> SharedStages:
    home = Path(spec.values["output_dir"]) / ".cache/stages"
    return SharedStages.of(
        home, spec.hashed_config, spec.requested, spec.shared_stages, numerics, code_of
    )


def _analysis(run: Run, spec: RunSpec) -> Analysis:
    grid = spec.values["sensitivity"]["grid"]
    choices = spec.choices
    analysis = Analysis.of(run, grid, choices["saliency"], choices["structure"])
    return replace(analysis, code=code_of(analysis.hashed_config))
