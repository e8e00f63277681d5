"""Executes a sweep: skips finished runs, hands the rest to a backend and lists failures."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.launch.backends.base import Backend
from harness.launch.sweeps.estimate import estimate_line, write_costs
from harness.launch.sweeps.failed_plans import has_failed
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.run_folder.progress_file import format_duration
from harness.system.atomic_files import CannotWrite, make_writable, read_json, write_json
from harness.system.deletion import ELSEWHERE, check_no_link
from harness.system.leases import LOCK
from harness.system.locks import LEASE_S, Busy, is_remote_lock, locked, watch_locks
from harness.system.names import printable
from harness.vocabulary.checks import check, check_known

RunOutcome = tuple[PlannedRun, Outcome]

ACTIONS = ("run", "plan", "retry_failed")


@dataclass(frozen=True)
class Sweep:
    """Executes the runs of a plan on a backend.

    retries: how often a failed run is tried again, unless its input is wrong.
    action: "retry_failed" skips all runs that have not failed before.

    Raises:
        ValueError: a value is out of range.
    """

    plan: Plan
    backend: Backend
    retries: int = 0
    action: str = "run"

    def __post_init__(self) -> None:
        check("launch.retries", self.retries, "a whole number >= 0")
        check_known("launch.action", self.action, ACTIONS)

    def run(self) -> list[RunOutcome]:
        """Returns every run with its outcome; the sweep's folder is locked meanwhile.

        Raises:
            ValueError: the folder cannot be written, or belongs to another sweep.
            Busy: another sweep has locked the folder.
            Stopped: a signal came.
        """
        with sweep_lock(self.plan):
            self.plan.write()
            failed_only = self.action == "retry_failed"
            points = [point for point in self.plan.points if not failed_only or has_failed(point)]
            done = {point.folder: point.finished() for point in points}
            left = [point for point in points if not done[point.folder]]
            backend = self.backend
            print(estimate_line(self.plan, left, backend.workers(), backend.benchmark), flush=True)
            tried = self._run_with_retries(left)
            with suppress(CannotWrite):  # results matter more than costs
                write_costs(
                    self.plan.folder, [(p, o.seconds) for p, o in tried if o.state == "finished"]
                )
        ends = {**done, **{point.folder: outcome for point, outcome in tried}}
        return [(point, outcome) for point in points if (outcome := ends[point.folder])]

    def write(self) -> int:
        """Writes the plan alone and prints the estimated cost; returns 0."""
        with sweep_lock(self.plan):
            self.plan.write()
        left = [point for point in self.plan.points if not point.finished()]
        print(estimate_line(self.plan, left, self.backend.workers()))
        if self.plan.unread:
            print(
                f"{self.plan.unread} runs get their names when they begin: their data have not "
                "been read yet, and a plan alone does not"
            )
        print(printable(f"plan: {self.plan.file}"))
        return 0

    def _run_with_retries(self, points: Sequence[PlannedRun]) -> list[RunOutcome]:
        ended: dict[str, RunOutcome] = {}
        for attempt in range(1 + self.retries):
            if attempt:
                points = [point for point, outcome in ended.values() if outcome.retryable]
            for phase in filter(None, self._phases(points)):
                ended |= self._run_phase(phase)
        return list(ended.values())

    def _phases(self, points: Sequence[PlannedRun]) -> Iterator[list[PlannedRun]]:
        """Yields groups of runs; a group begins after the one before has ended.

        Runs with the most shared stages come first. Where runs begin in order, one group is
        enough: later runs load shared stages from disk or wait for them.
        """
        ordered = sorted(points, key=lambda point: -len(point.shared))
        if self.backend.in_order:
            yield ordered
            return
        yield [point.only_dense() for point in one_per_dense_training(points)]
        first = {key: point.folder for point in reversed(ordered) for key in point.shared}
        leaders = set(first.values())
        yield [point for point in ordered if point.folder in leaders]
        yield [point for point in ordered if point.folder not in leaders]

    def _run_phase(self, points: Sequence[PlannedRun]) -> dict[str, RunOutcome]:
        """Executes a group of runs and returns their outcomes by folder."""
        began = time.monotonic()
        ended: dict[str, RunOutcome] = {}
        # Closed also by a signal between two outcomes: workers must not run on.
        with closing(self.backend.run([point.line for point in points])) as outcomes:
            for count, (number, outcome) in enumerate(outcomes, start=1):
                point = points[number]
                left = (time.monotonic() - began) / count * (len(points) - count)
                about = f"; about {format_duration(left)} left" if left >= 1 else ""
                print(f"[{count}/{len(points)}] {format_result(point, outcome)}{about}", flush=True)
                ended[point.folder] = point, outcome
        return ended


@contextmanager
def sweep_lock(plan: Plan) -> Iterator[None]:
    """Locks the sweep's folder and reserves it for sweeps of the same name."""
    home = plan.folder / HOME
    check_no_link(home, ELSEWHERE)
    make_writable(home)
    if is_remote_lock(home / LOCK):
        print(f"{home} is locked by another host: watching it, {LEASE_S:g} s at most", flush=True)
        watch_locks([home / LOCK])
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home, wait=False))
        except Busy as busy:
            raise Busy(f"another sweep is at work: {busy}", busy.is_alive) from busy
        _check_sweep_name(home / "sweep.json", plan)
        yield


def _check_sweep_name(file: Path, plan: Plan) -> None:
    before = read_json(file)
    if not plan.name:
        return
    if before and before["sweep"] != plan.name:
        raise ValueError(
            f"{plan.folder} holds sweep={before['sweep']}, and sweep={plan.name} would mix with "
            f"it; choose another folder with sweep_name=NAME"
        )
    if not before:
        write_json(file, {"sweep": plan.name})


def one_per_dense_training(points: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Returns one run for each dense training."""
    first = {point.dense: point for point in reversed(list(points)) if point.dense}
    return list(reversed(first.values()))


def format_result(point: PlannedRun, outcome: Outcome) -> str:
    result = f"top-1 {100 * outcome.top1:.2f} %" if outcome.top1 is not None else outcome.reason
    text = f"{outcome.state} in {outcome.seconds:.1f} s: {point.label}"
    return printable(f"{text}: {result}" if result else text)


def summary(ended: Sequence[RunOutcome]) -> list[str]:
    """Returns lines: counts, then runs of other commits, then failed runs with their reasons."""
    of = {
        state: [end for end in ended if end[1].state == state]
        for state in ("finished", "skipped", "failed")
    }
    counts = ", ".join(f"{len(of[state])} {state}" for state in of)
    stale = [outcome for _, outcome in of["skipped"] if ", by " in outcome.reason]
    return [
        f"sweep: {len(ended)} runs: {counts}",
        *(f"  {o.folder}: {o.reason}; rerun=changed redoes it" for o in stale),
        *(printable(f"  failed: {point.label}: {_why(o)}") for point, o in of["failed"]),
    ]


def _why(outcome: Outcome) -> str:
    return f"{outcome.reason} (see {outcome.log})" if outcome.log else outcome.reason


def print_summary(ended: Sequence[RunOutcome]) -> int:
    """Prints the summary and returns 1 if any run failed, else 0."""
    print("\n".join(summary(ended)), flush=True)
    return int(any(outcome.state == "failed" for _, outcome in ended))
