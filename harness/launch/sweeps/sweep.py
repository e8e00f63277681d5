"""A sweep: what is finished is skipped, the rest goes to an engine, failures are listed."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.launch.backends.base import Engine
from harness.launch.sweeps.estimate import learn, stated
from harness.launch.sweeps.failed_plans import has_failed
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import Planned
from harness.run_folder.outcome import Outcome
from harness.run_folder.overview import HOME
from harness.run_folder.progress_file import format_duration
from harness.system.atomic_files import CannotWrite, make_writable, read_json, write_json
from harness.system.deletion import ELSEWHERE, check_no_link
from harness.system.leases import LOCK
from harness.system.locks import LEASE_S, Busy, is_out_of_sight, locked, watch
from harness.system.names import visible
from harness.vocabulary.checks import check, check_known

Ended = tuple[Planned, Outcome]

ACTIONS = ("run", "plan", "retry_failed")


@dataclass(frozen=True)
class Sweep:
    """retries: how often a point that failed is tried again, unless its input is wrong. action:
    "retry_failed" leaves out all that have not failed before.

    Raises:
        ValueError: a value is out of range.
    """

    plan: Plan
    engine: Engine
    retries: int = 0
    action: str = "run"

    def __post_init__(self) -> None:
        check("launch.retries", self.retries, "a whole number >= 0")
        check_known("launch.action", self.action, ACTIONS)

    def run(self) -> list[Ended]:
        """Every point and what became of it; while no other sweep is in the folder.

        Raises:
            ValueError: the folder cannot be written, or is another sweep's.
            Busy: another sweep is in it.
            Stopped: a signal asked for it.
        """
        with alone(self.plan):
            self.plan.write()
            failed_only = self.action == "retry_failed"
            points = [point for point in self.plan.points if not failed_only or has_failed(point)]
            done = {point.folder: point.finished() for point in points}
            left = [point for point in points if not done[point.folder]]
            engine = self.engine
            print(stated(self.plan, left, engine.workers(), engine.gauge), flush=True)
            tried = self._tried(left)
            with suppress(CannotWrite):  # what it costs is less than what it found
                learn(self.plan.folder, [(p, o.seconds) for p, o in tried if o.state == "finished"])
        ends = {**done, **{point.folder: outcome for point, outcome in tried}}
        return [(point, outcome) for point in points if (outcome := ends[point.folder])]

    def write(self) -> int:
        """Only the plan, and a line with what the sweep would cost."""
        with alone(self.plan):
            self.plan.write()
        left = [point for point in self.plan.points if not point.finished()]
        print(stated(self.plan, left, self.engine.workers()))
        if self.plan.unread:
            print(
                f"{self.plan.unread} runs get their names when they begin: their data have not "
                "been read yet, and a plan alone does not"
            )
        print(visible(f"plan: {self.plan.file}"))
        return 0

    def _tried(self, points: Sequence[Planned]) -> list[Ended]:
        ended: dict[str, Ended] = {}
        for attempt in range(1 + self.retries):
            if attempt:
                points = [point for point, outcome in ended.values() if outcome.retryable]
            for phase in filter(None, self._phases(points)):
                ended |= self._carried_out(phase)
        return list(ended.values())

    def _phases(self, points: Sequence[Planned]) -> Iterator[list[Planned]]:
        """What must have ended before the next may begin. Those that share most come first. Where
        points begin in order, others find what they share on disk, or wait for it a while."""
        ordered = sorted(points, key=lambda point: -len(point.shared))
        if self.engine.in_order:
            yield ordered
            return
        yield [point.dense_alone() for point in first_of_each_dense(points)]
        first = {key: point.folder for point in reversed(ordered) for key in point.shared}
        leaders = set(first.values())
        yield [point for point in ordered if point.folder in leaders]
        yield [point for point in ordered if point.folder not in leaders]

    def _carried_out(self, points: Sequence[Planned]) -> dict[str, Ended]:
        """By folder."""
        began = time.monotonic()
        ended: dict[str, Ended] = {}
        # Closed also by a signal between two outcomes: workers must not go on by themselves.
        with closing(self.engine.outcomes([point.line for point in points])) as outcomes:
            for count, (number, outcome) in enumerate(outcomes, start=1):
                point = points[number]
                left = (time.monotonic() - began) / count * (len(points) - count)
                about = f"; about {format_duration(left)} left" if left >= 1 else ""
                print(f"[{count}/{len(points)}] {told(point, outcome)}{about}", flush=True)
                ended[point.folder] = point, outcome
        return ended


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """Keeps other sweeps out of the folder, for now and, if they have another name, for ever."""
    home = plan.folder / HOME
    check_no_link(home, ELSEWHERE)
    make_writable(home)
    if is_out_of_sight(home / LOCK):
        print(f"{home} is locked by another host: watching it, {LEASE_S:g} s at most", flush=True)
        watch([home / LOCK])
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home, wait=False))
        except Busy as busy:
            raise Busy(f"another sweep is at work: {busy}", busy.is_alive) from busy
        _claim(home / "sweep.json", plan)
        yield


def _claim(file: Path, plan: Plan) -> None:
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


def first_of_each_dense(points: Iterable[Planned]) -> list[Planned]:
    """One of the points that share a dense training, for each."""
    first = {point.dense: point for point in reversed(list(points)) if point.dense}
    return list(reversed(first.values()))


def told(point: Planned, outcome: Outcome) -> str:
    result = f"top-1 {100 * outcome.top1:.2f} %" if outcome.top1 is not None else outcome.reason
    said = f"{outcome.state} in {outcome.seconds:.1f} s: {point.says}"
    return visible(f"{said}: {result}" if result else said)


def summary(ended: Sequence[Ended]) -> list[str]:
    """Lines: counts; then what other commits made; then what failed, with its reason."""
    of = {
        state: [end for end in ended if end[1].state == state]
        for state in ("finished", "skipped", "failed")
    }
    counts = ", ".join(f"{len(of[state])} {state}" for state in of)
    stale = [outcome for _, outcome in of["skipped"] if ", by " in outcome.reason]
    return [
        f"sweep: {len(ended)} runs: {counts}",
        *(f"  {o.folder}: {o.reason}; rerun=changed redoes it" for o in stale),
        *(visible(f"  failed: {point.says}: {_why(o)}") for point, o in of["failed"]),
    ]


def _why(outcome: Outcome) -> str:
    return f"{outcome.reason} (see {outcome.log})" if outcome.log else outcome.reason


def end(ended: Sequence[Ended]) -> int:
    """Prints the summary; 1 if any failed, else 0."""
    print("\n".join(summary(ended)), flush=True)
    return int(any(outcome.state == "failed" for _, outcome in ended))
