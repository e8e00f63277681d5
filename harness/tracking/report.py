"""A report at W&B, made from code: the survey's charts over the runs of its sweeps."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.run_folder.outcome import below
from harness.tracking.sync import NoServer, check_server, server

TITLE = "Pruning survey"


def sweeps(runs: Path) -> list[str]:
    """Names of the sweeps (the runs' groups at W&B) with records below the folder.

    Raises:
        ValueError: there is no such folder, or nothing in it.
    """
    if not runs.is_dir():
        raise ValueError(f"RUNS={runs} is no folder; name that of a run, a sweep or all runs")
    # runs/SWEEP/XX/NAME-HASH/records.jsonl
    found = sorted({file.absolute().parents[2].name for file in below(runs, "records.jsonl")})
    if not found:
        raise ValueError(f"RUNS={runs} has no records; a report is made of runs that were tracked")
    return found


def check_installed() -> None:
    """
    Raises:
        ValueError: the package wandb-workspaces is missing.
    """
    if find_spec("wandb_workspaces") is None:
        raise ValueError(
            "a report at W&B needs the package wandb-workspaces; "
            "pip install 'pruning-harness[wandb-report]'"
        )


def send(project: str, entity: str | None, groups: Sequence[str]) -> str:
    """Saves the report at W&B; its address.

    Raises:
        ValueError: the package wandb-workspaces is missing, or W&B refuses a variable of the
            environment.
        NoServer: nothing answers, nobody is logged in, or W&B refuses it, as for a project that
            it does not have.
    """
    check_installed()
    check_server(server())
    try:
        return str(report(project, entity, groups).save().url)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise NoServer(f"W&B took no report on project {project}: {reason}") from error


def report(project: str, entity: str | None, groups: Sequence[str]) -> Any:
    """The report, not sent yet: accuracy over density and compression, learning curves, cost; one
    colour per method, its seeds as mean and standard error."""
    # Optional, and typed for other versions of pydantic than its own.
    wr: Any = import_module("wandb_workspaces.reports.v2")
    whose = {"entity": entity} if entity else {}
    names = ", ".join(f'"{group}"' for group in groups)
    shown = wr.Runset(
        project=project, name="methods", groupby=["JobType"], filters=f"Group in [{names}]", **whose
    )
    return wr.Report(
        project=project,
        title=f"{TITLE}: {', '.join(groups)}",
        description="Runs of the same method are grouped; test data throughout.",
        blocks=[wr.PanelGrid(runsets=[shown], panels=_panels(wr))],
        **whose,
    )


def _panels(wr: Any) -> list[Any]:
    over_density = ("finetuned/top1", "pruned/top1", "finetuned/effective_density")
    curves = ("training/loss", "training/validation_top1")
    lines = [
        *(wr.LinePlot(x="compression", y=[name], log_x=True) for name in over_density[:2]),
        *(wr.LinePlot(x="density_of_weights", y=[name], log_x=True) for name in over_density),
        *(wr.LinePlot(x="epoch", y=[name]) for name in curves),
    ]
    cost = wr.ScatterPlot(
        x=wr.SummaryMetric("finetuned/training_flops"), y=wr.SummaryMetric("finetuned/top1")
    )
    return [*lines, cost]
