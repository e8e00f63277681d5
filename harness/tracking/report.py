"""Makes a W&B report by code: the survey's charts over the runs of its sweeps."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.extras import check_extra
from harness.run_folder.outcome import below
from harness.tracking.sync import NoServer, check_server, server

TITLE = "Pruning survey"


def sweeps(runs: Path) -> list[str]:
    """Returns the names of the sweeps (the runs' groups at W&B) with records below the folder.

    Raises:
        ValueError: the folder does not exist, or has no records.
    """
    if not runs.is_dir():
        raise ValueError(
            f"RUNS={runs} is not a folder: pass that of a run, of a sweep or of all runs"
        )
    # runs/SWEEP/XX/NAME-HASH/records.jsonl
    names = sorted({file.absolute().parents[2].name for file in below(runs, "records.jsonl")})
    if not names:
        raise ValueError(f"RUNS={runs} has no records: pass a folder of runs tracked by W&B")
    return names


def send(
    project: str, entity: str | None, groups: Sequence[str], speeds: Sequence[str] = ()
) -> str:
    """Saves the report at W&B, and returns its address.

    The arguments are those of `report`.

    Raises:
        ValueError: the package wandb-workspaces is missing, or W&B refuses a variable of the
            environment.
        NoServer: the server does not answer, no user is logged in, or W&B refuses the report (a
            project that does not exist, for instance).
    """
    check_extra("wandb-report", "a report at W&B")
    check_server(server())
    try:
        return str(report(project, entity, groups, speeds).save().url)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise NoServer(f"W&B refused the report on project {project}: {reason}") from error


def report(
    project: str, entity: str | None, groups: Sequence[str], speeds: Sequence[str] = ()
) -> Any:
    """Builds the report without sending it: accuracy, learning curves, cost and measured speed.

    Accuracy is drawn over density, over compression and against measured speed-up. Each method has
    one colour; its seeds are shown as mean and standard error.

    Args:
        project: of the runs.
        entity: user or team, or None for that of the account.
        groups: names of sweeps.
        speeds: names of measurements, as `names_below` returns them; each has panels of its own.
    """
    # An optional package, typed for other versions of pydantic than its own.
    wr: Any = import_module("wandb_workspaces.reports.v2")
    owner = {"entity": entity} if entity else {}
    names = ", ".join(f'"{group}"' for group in groups)
    runs = wr.Runset(
        project=project, name="methods", groupby=["JobType"], filters=f"Group in [{names}]", **owner
    )
    return wr.Report(
        project=project,
        title=f"{TITLE}: {', '.join(groups)}",
        description="Runs of the same method are grouped; test data throughout.",
        blocks=[wr.PanelGrid(runsets=[runs], panels=_panels(wr, speeds))],
        **owner,
    )


def _panels(wr: Any, speeds: Sequence[str]) -> list[Any]:
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
    measured = [
        wr.ScatterPlot(
            x=wr.SummaryMetric(f"{name}/speedup"),
            y=wr.SummaryMetric("finetuned/top1"),
            title=f"Top-1 against measured speed-up: {name}; measured_with names device, versions",
        )
        for name in speeds
    ]
    seconds = [
        wr.LinePlot(x="density_of_weights", y=[f"{name}/{what}"], log_x=True)
        for name in speeds
        for what in ("speedup", "milliseconds", "peak_bytes", "file_bytes")
    ]
    return [*lines, cost, *measured, *seconds]
