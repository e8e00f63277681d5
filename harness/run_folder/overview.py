"""Reads the states of runs from the plans of sweeps and from run folders; writes nothing."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.run_folder import progress_file, records
from harness.run_folder.curve_records import FILE
from harness.run_folder.outcome import COMPACT, EXPORTS, RESULTS
from harness.run_folder.progress_file import RunProgress
from harness.system.atomic_files import read_object
from harness.system.json_schema import parse_json
from harness.system.locks import is_held

HOME = ".sweep"  # below a sweep's folder: plans, jobs and the lock
LOG = "error.log"  # below a run's folder
STATES = ("done", "running", "interrupted", "failed", "missing")
DEEPEST = 3  # levels of folders from the output folder down to a run
SAMPLE = 50  # runs whose seconds are averaged


@dataclass(frozen=True)
class RunStatus:
    """Holds the state of one run.

    label: the overrides that distinguish it.
    state: one of STATES.
    reason, log: why it failed, and the file with the traceback.
    position: progress of a running run.
    """

    label: str
    folder: str
    state: str
    reason: str = ""
    log: str = ""
    progress: RunProgress | None = None


@dataclass(frozen=True)
class RunsStatus:
    """Holds the states of all runs below a folder.

    sweep_is_running: a sweep holds its lock and will start further runs.
    """

    runs: list[RunStatus]
    sweep_is_running: bool

    @property
    def has_failed(self) -> bool:
        return any(run.state == "failed" for run in self.runs)

    @property
    def is_active(self) -> bool:
        return self.sweep_is_running or any(run.state == "running" for run in self.runs)


def scan(folder: Path) -> RunsStatus:
    """Returns the states of all runs in a run folder, a sweep folder or the output folder.

    Raises:
        ValueError: the folder is missing, holds no run or plan, or a plan is damaged.
    """
    if not folder.is_dir():
        raise ValueError(
            f"RUNS={folder} is not a folder: pass that of a run, of a sweep or of all runs"
        )
    sweeps = [home for home in (folder, *_below(folder)) if (home / HOME).is_dir()]
    several = folder not in sweeps
    labels = {
        path: f"{home.name}: {text}" if several else text
        for home in sweeps
        for path, text in _planned_labels(home).items()
    }
    alone = [run for run in _runs(folder, DEEPEST) if str(run) not in labels]
    labels |= {str(run): str(run.relative_to(folder.parent)) for run in alone}
    if not labels:
        raise ValueError(
            f"{folder} holds no run and no plan of a sweep; give the folder of one, as runs/survey"
        )
    runs = [run_status(Path(path), text) for path, text in labels.items()]
    return RunsStatus(runs, any(is_held(home / HOME) for home in sweeps))


def run_status(folder: Path, label: str) -> RunStatus:
    """Returns the state of one run, which need not have begun."""
    try:
        status = read_object(folder / "status.json")
        state = status.get("state", "missing")
    except (ValueError, OSError) as error:
        return RunStatus(label, str(folder), "failed", str(error))
    if state == "finished":
        state = "done" if _is_whole(folder, status.get("sha256", {})) else "missing"
    elif state == "running" and not is_held(folder):
        state = "interrupted"
    reason = status.get("reason", "") if state in ("failed", "interrupted") else ""
    log = folder / LOG
    return RunStatus(
        label,
        str(folder),
        state,
        reason,
        str(log) if reason and log.exists() else "",
        progress_file.read(folder) if state == "running" else None,
    )


def plan_files(sweep: Path) -> list[Path]:
    """Returns the plans of a sweep, oldest first."""
    files = (sweep / HOME).glob("plan-*.jsonl")
    return sorted(files, key=lambda file: file.stat().st_mtime)


def seconds_left(runs: Sequence[RunStatus], now: float | None = None) -> float | None:
    """Estimates the seconds until all runs are done; None if unknown.

    As many runs as now are assumed to run at once.
    """
    now = time.time() if now is None else now
    running = [run.progress for run in runs if run.state == "running"]
    waiting = sum(run.state in ("interrupted", "missing") for run in runs)
    mean = _mean(_seconds(Path(run.folder)) for run in _sample(runs))
    left = [progress.seconds_left(now) if progress else None for progress in running]
    known = [seconds for seconds in (mean if own is None else own for own in left)]
    if not known or None in known or (waiting and mean is None):
        return None
    numbers = [seconds for seconds in known if seconds is not None]
    return max(max(numbers), (sum(numbers) + waiting * (mean or 0.0)) / len(running))


def _planned_labels(sweep: Path) -> dict[str, str]:
    """Returns the labels of all runs in the sweep's plans, by folder."""
    return {path: label for file in plan_files(sweep) for path, label in _labels_in(file, sweep)}


def _labels_in(file: Path, sweep: Path) -> Iterator[tuple[str, str]]:
    try:
        head, *lines = file.read_text().splitlines()
        planned_in = parse_json(head)["folder"]
        for line in lines:
            run = parse_json(line)
            # The sweep's folder may have been moved since.
            below = os.path.relpath(run["folder"], planned_in)
            yield str(sweep / below), run["label"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is no plan of a sweep ({error}); make one with "
            "pruning-harness sweep plan sweep=NAME"
        ) from error


def _runs(folder: Path, deepest: int) -> Iterator[Path]:
    if (folder / "status.json").exists():
        yield folder
    elif deepest:
        for below in _below(folder):
            yield from _runs(below, deepest - 1)


def _below(folder: Path) -> list[Path]:
    """Returns the visible folders below a folder; caches are hidden."""
    with suppress(OSError):  # deleted meanwhile
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    return []


def _is_whole(folder: Path, sums: Mapping[str, object]) -> bool:
    """True if all results are there. sums: of the files that the run had when it finished."""
    results = (FILE,) if folder.parent.name == "sensitivity" else RESULTS
    further = [name for name in (*COMPACT, *EXPORTS.values()) if name in sums]
    return all((folder / name).exists() for name in (*results, *further))


def _sample(runs: Sequence[RunStatus]) -> list[RunStatus]:
    done = [run for run in runs if run.state == "done"]
    return done[:: -(-len(done) // SAMPLE) or 1]


def _seconds(folder: Path) -> float | None:
    """Returns the seconds of a finished run, from its timings."""
    try:
        lines = [parse_json(line) for line in records.lines(folder / "timings.jsonl")]
        return sum(float(line.get("seconds", 0)) for line in lines) or None
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
