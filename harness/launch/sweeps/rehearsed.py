"""Rehearses each distinct set of parts of a sweep, before its first run."""

from dataclasses import replace

from harness.launch.backends.base import Backend
from harness.launch.backends.local_ranks import rank_count
from harness.launch.sweeps.plan import Plan
from harness.launch.sweeps.planned_run import PlannedRun
from harness.run_folder.identity import rehearsal_hash
from harness.system.names import printable


def rehearse_sets(plan: Plan, backend: Backend, refuse_any: bool = False) -> Plan:
    """Returns the plan, whose runs know what was rehearsed; prints what is refused.

    Runs that differ in seeds, lengths and sizes only are rehearsed once. Runs of several ranks
    rehearse when they begin.

    refuse_any: one refused run is enough to refuse the plan; otherwise the others are executed.

    Raises:
        ValueError: all runs are refused, or any with `refuse_any`.
    """
    sets: dict[str, list[PlannedRun]] = {}
    left = [run for run in plan.runs if not run.finished()]
    for run in left:
        if name := _parts_of(run):
            sets.setdefault(name, []).append(run)
    verdicts = backend.rehearse([runs[0].line for runs in sets.values()], len(left)) if sets else []
    known: dict[str, str] = {}
    refused: dict[str, list[PlannedRun]] = {}
    for runs, verdict in zip(sets.values(), verdicts, strict=True):
        if verdict and verdict.refused:
            refused.setdefault(verdict.refused, []).extend(runs)
        elif verdict:
            known |= {run.folder: verdict.parts for run in runs}
    lines = [
        printable(f"{len(runs)} of {len(left)} runs refused, the first is {runs[0].label}: {why}")
        for why, runs in refused.items()
    ]
    if lines and (refuse_any or sum(map(len, refused.values())) == len(left)):
        raise ValueError("; ".join(lines))
    for line in lines:
        print(f"sweep: {line}", flush=True)
    return replace(plan, runs=[_marked(run, known.get(run.folder)) for run in plan.runs])


def _parts_of(run: PlannedRun) -> str:
    """Returns a name that is equal for runs to rehearse once; "" for none."""
    spec = run.spec
    rehearses_itself = spec.command != "run" or rank_count(spec.values) > 1
    if rehearses_itself or spec.rehearsed or not spec.values["rehearse"]:
        return ""
    return rehearsal_hash(spec.hashed_config, spec.values["latency"], spec.code, {})


def _marked(run: PlannedRun, parts: str | None) -> PlannedRun:
    return replace(run, line=replace(run.spec, rehearsed=parts).to_json()) if parts else run
