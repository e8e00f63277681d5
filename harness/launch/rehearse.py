"""Rehearses a RunSpec in this process; imports torch."""

from pathlib import Path

import torch

from harness.distributed import ranks_of_environment
from harness.experiment.rehearsals.rehearsal import rehearse
from harness.experiment.runner import prepare
from harness.launch.backends.base import Verdict
from harness.launch.digests.data import with_data_digest
from harness.launch.error_messages import one_line
from harness.launch.execute import build, config_part, run_of
from harness.launch.log_handler import collected_log_messages
from harness.launch.rehearsed_parts import REHEARSED
from harness.launch.run_spec import RunSpec
from harness.run_folder.identity import Config
from harness.run_folder.stage_keys import is_ours

UNREAD = "has files that were never read, and a plan reads none"


def rehearse_run(spec: RunSpec) -> Verdict:
    """Returns what the rehearsal finds, for which no data are read that nobody has read yet."""
    torch.set_num_threads(spec.values["threads"])
    try:
        experiment = build(spec.config)
        if spec.data_sha256 is None:
            if reads_files(spec.config["data"], experiment.data):
                return Verdict(skipped=f"data={spec.choices['data']} {UNREAD}")
            spec = with_data_digest(spec, experiment.data)
        options = config_part(spec.config, "ranks")
        device = spec.values["device"]
        with collected_log_messages() as lines, ranks_of_environment(device, options) as ranks:
            run = run_of(spec, experiment, ranks)
            context, state = prepare(experiment, ranks, Path())
            if run.rehearse:
                rehearse(context, state.model, run.latency, run.export, run.REHEARSED)
            REHEARSED.add(run.parts)
    except ValueError as error:
        return Verdict(refused=one_line(error))
    return Verdict(run.parts, messages=() if spec.values["progress"] == "none" else tuple(lines))


def reads_files(config: Config, data: object) -> bool:
    """True if the data set of this config reads files, or may."""
    files = getattr(data, "files", None)
    return not is_ours(config) if files is None else bool(list(files()))
