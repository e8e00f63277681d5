"""Executes a sweep: skips finished runs, hands the rest to a backend and lists failures."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.launch.backends.base import Backend
from harness.launch.execute_lazy import failed_outcome
from harness.launch.sweeps.estimate import estimate_line, seconds_left, write_costs
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

RunOutcome = tuple[PlannedRun, Outcome]


@dataclass(frozen=True)
class Sweep:
    """Executes the runs of a plan on a backend.

    retries: how often a failed run is tried again, unless its input is wrong.
    action: "retry_failed" skips all runs that have not failed before.
    """

    plan: Plan
    backend: Backend
    retries: int = 0
    action: str = "run"

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
            runs = [run for run in self.plan.runs if not failed_only or has_failed(run)]
            done = {run.folder: run.finished() for run in runs}
            refused, left = self._split_refused([run for run in runs if not done[run.folder]])
            backend = self.backend
            finished = [run for run in runs if done[run.folder]]
            workers, measure = backend.workers(), backend.benchmark
            print(estimate_line(self.plan, left, workers, measure, finished), flush=True)
            tried = [*refused, *self._run_with_retries(left)]
            with suppress(CannotWrite):  # results matter more than costs
                write_costs(
                    self.plan.folder, [(p, o.seconds) for p, o in tried if o.state == "finished"]
                )
        ends = {**done, **{run.folder: outcome for run, outcome in tried}}
        return [(run, outcome) for run in runs if (outcome := ends[run.folder])]

    def write(self) -> int:
        """Writes the plan alone and prints the estimated cost; returns 0."""
        with sweep_lock(self.plan):
            self.plan.write()
        done = [run for run in self.plan.runs if run.finished()]
        left = [run for run in self.plan.runs if run not in done]
        print(estimate_line(self.plan, left, self.backend.workers(), done=done))
        if self.plan.unread:
            print(
                f"{self.plan.unread} runs get their final names when they begin: their data have "
                "not been read yet, and launch.action=plan reads no files"
            )
        print(printable(f"plan: {self.plan.file}"))
        return 0

    def _split_refused(
        self, runs: Sequence[PlannedRun]
    ) -> tuple[list[RunOutcome], list[PlannedRun]]:
        """Marks the runs that their rehearsal refuses as failed; returns them, and the others."""
        reasons = self.plan.refused
        refused = [run for run in runs if run.folder in reasons]
        outcomes = [failed_outcome(run.spec, ValueError(reasons[run.folder])) for run in refused]
        rest = [run for run in runs if run.folder not in reasons]
        return list(zip(refused, outcomes, strict=True)), rest

    def _run_with_retries(self, runs: Sequence[PlannedRun]) -> list[RunOutcome]:
        ended: dict[str, RunOutcome] = {}
        for attempt in range(1 + self.retries):
            if attempt:
                runs = [run for run, outcome in ended.values() if outcome.retryable]
            for phase in filter(None, self._phases(runs)):
                ended |= self._run_phase(phase)
        return list(ended.values())

    def _phases(self, runs: Sequence[PlannedRun]) -> Iterator[list[PlannedRun]]:
        """Yields groups of runs; a group begins after the one before has ended.

        Runs with the most shared stages come first. Where runs begin in order, one group is
        enough: later runs load shared stages from disk or wait for them.
        """
        ordered = sorted(runs, key=lambda run: -len(run.shared))
        if self.backend.in_order:
            yield ordered
            return
        yield [run.only_dense() for run in one_per_dense_training(runs)]
        first = {key: run.folder for run in reversed(ordered) for key in run.shared}
        leaders = set(first.values())
        yield [run for run in ordered if run.folder in leaders]
        yield [run for run in ordered if run.folder not in leaders]

    def _run_phase(self, runs: Sequence[PlannedRun]) -> dict[str, RunOutcome]:
        """Executes a group of runs and returns their outcomes by folder."""
        began = time.monotonic()
        ended: dict[str, RunOutcome] = {}
        # Closed also by a signal between two outcomes: workers must not run on.
        with closing(self.backend.run([run.line for run in runs])) as outcomes:
            for count, (number, outcome) in enumerate(outcomes, start=1):
                run = runs[number]
                ended[run.folder] = run, outcome
                rest = [run for run in runs if run.folder not in ended]
                so_far = [run for run, _ in ended.values()]
                left = seconds_left(time.monotonic() - began, so_far, rest)
                about = f"; about {format_duration(left)} left" if left >= 1 else ""
                print(f"[{count}/{len(runs)}] {format_result(run, outcome)}{about}", flush=True)
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
            raise Busy(f"another sweep uses this folder: {busy}", busy.is_alive) from busy
        _check_sweep_name(home / "sweep.json", plan)
        yield


def _check_sweep_name(file: Path, plan: Plan) -> None:
    before = read_json(file)
    if not plan.name:
        return
    if before and before["sweep"] != plan.name:
        raise ValueError(
            f"{plan.folder} belongs to sweep={before['sweep']}, not to sweep={plan.name}; choose "
            "another folder with sweep_name=NAME"
        )
    if not before:
        write_json(file, {"sweep": plan.name})


def one_per_dense_training(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """Returns one run for each dense training."""
    first = {run.dense: run for run in reversed(list(runs)) if run.dense}
    return list(reversed(first.values()))


def format_result(run: PlannedRun, outcome: Outcome) -> str:
    result = outcome.reason if outcome.test is None else outcome.measure.shown(outcome.test)
    text = f"{outcome.state} in {outcome.seconds:.1f} s: {run.label}"
    return printable(f"{text}: {result}" if result else text)


def summary(ended: Sequence[RunOutcome]) -> list[str]:
    """Returns lines: counts, then runs of other commits, then failed runs with their reasons."""
    of = {
        state: [item for item in ended if item[1].state == state]
        for state in ("finished", "skipped", "failed")
    }
    counts = ", ".join(f"{len(of[state])} {state}" for state in of)
    stale = [outcome for _, outcome in of["skipped"] if ", by " in outcome.reason]
    return [
        f"sweep: {len(ended)} runs: {counts}",
        *(f"  {o.folder}: {o.reason}; rerun=changed redoes it" for o in stale),
        *(printable(f"  failed: {run.label}: {_why(o)}") for run, o in of["failed"]),
    ]


def _why(outcome: Outcome) -> str:
    return f"{outcome.reason} (see {outcome.log})" if outcome.log else outcome.reason


def print_summary(ended: Sequence[RunOutcome]) -> int:
    """Prints the summary and returns 1 if any run failed, else 0."""
    print("\n".join(summary(ended)), flush=True)
    return int(any(outcome.state == "failed" for _, outcome in ended))
