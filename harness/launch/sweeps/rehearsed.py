"""Rehearses each distinct set of parts of a sweep, before its first run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.launch.backends.base import Backend
from harness.launch.backends.local_ranks import rank_count
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.identity import rehearsal_hash
from harness.system.names import printable

LATER = "rehearsed when they begin"


def rehearse_sets(plan: Plan, backend: Backend, plan_only: bool = False) -> Plan:
    """Returns the plan with what was rehearsed and what is refused, which is printed too.

    Log messages of runs, which workers do not print, are printed once each.

    Runs that differ in seeds, lengths and sizes only are rehearsed once. Runs of several ranks
    rehearse when they begin.

    plan_only: no run is executed. One refused run is enough to refuse the plan, and what was not
        rehearsed is printed with the reason.

    Raises:
        ValueError: all runs are refused, or any with `plan_only`.
    """
    sets: dict[str, list[PlannedRun]] = {}
    known: dict[str, str] = {}
    refused: dict[str, list[PlannedRun]] = {}
    skipped: dict[str, list[PlannedRun]] = {}
    left = [run for run in plan.runs if not run.finished()]
    for run in left:
        if reason := _not_here(run.spec):
            skipped.setdefault(reason, []).append(run)
        elif not run.spec.rehearsed:
            sets.setdefault(_parts_of(run.spec), []).append(run)
    verdicts = backend.rehearse([runs[0].line for runs in sets.values()], len(left)) if sets else []
    for runs, verdict in zip(sets.values(), verdicts, strict=True):
        if verdict and verdict.refused:
            refused.setdefault(verdict.refused, []).extend(runs)
        elif verdict and verdict.parts:
            known |= {run.folder: verdict.parts for run in runs}
        else:
            skipped.setdefault(verdict.skipped if verdict else LATER, []).extend(runs)
    if refused and (plan_only or sum(map(len, refused.values())) == len(left)):
        raise ValueError("; ".join(_lines(refused, len(left), "refused")))
    unknown = _lines(skipped, len(left), "not rehearsed") if plan_only else []
    messages = [printable(text) for each in verdicts if each for text in each.messages]
    for line in [*dict.fromkeys(messages), *_lines(refused, len(left), "refused"), *unknown]:
        print(f"sweep: {line}", flush=True)
    reasons = {run.folder: reason for reason, runs in refused.items() for run in runs}
    marked = [_marked(run, known.get(run.folder)) for run in plan.runs]
    return replace(plan, runs=marked, refused=reasons)


def _not_here(spec: RunSpec) -> str:
    """Returns why the sweep does not rehearse this run, or ""."""
    if not spec.values["rehearse"]:
        return "rehearse=false"
    if spec.command != "run":
        return f"analyses are {LATER}"
    ranks = rank_count(spec.values)
    return f"launch.ranks_per_run={ranks}: {LATER}" if ranks > 1 else ""


def _parts_of(spec: RunSpec) -> str:
    """Returns a name that is equal for runs to rehearse once."""
    return rehearsal_hash(spec.hashed_config, spec.values, spec.code, {})


def _lines(groups: Mapping[str, Sequence[PlannedRun]], of: int, what: str) -> list[str]:
    """Returns a line per reason: how many runs it concerns, and the first of them."""
    return [
        printable(f"{len(runs)} of {of} runs {what}, the first is {runs[0].label}: {reason}")
        for reason, runs in groups.items()
    ]


def _marked(run: PlannedRun, parts: str | None) -> PlannedRun:
    return replace(run, line=replace(run.spec, rehearsed=parts).to_json()) if parts else run
