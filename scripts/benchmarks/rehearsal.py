"""Measures what rehearsing each distinct set of parts costs the default survey."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

from benchmarks.figure import Figure, Side, in_turns, ratio
from harness.distributed import Ranks
from harness.experiment.rehearsals.rehearsal import rehearse
from harness.experiment.runner import prepare
from harness.launch.compose import CONF, compose_config
from harness.launch.execute import build, execute_run
from harness.launch.rehearse import rehearse_run
from harness.launch.run_spec import RunSpec
from harness.launch.variables import plain

REPEATS = 5
SURVEY = ("sweep=survey", "tracking=none", "progress=none", "device=cpu", "rerun=always")
QUICK = ("training.epochs=1", "retraining.epochs=1")


def figures(repeats: int | None, quick: bool) -> Iterator[Figure]:
    """Returns the share of the survey's time, and a run's time beside itself."""
    grid = survey_grid()
    methods, runs = grid["method"], prod(map(len, grid.values()))
    with tempfile.TemporaryDirectory() as folder:
        overrides = (*SURVEY, *(QUICK if quick else ()), f"output_dir={folder}")
        run = partial(execute_run, planned(*overrides))
        run()  # trains the dense model, as three runs of the survey do
        sides = {
            "rehearsals": rehearsing(overrides, methods),
            "run": Side(lambda: None, lambda _: run()),
            "run again": Side(lambda: None, lambda _: run()),
        }
        seconds = in_turns(sides, repeats or REPEATS, warm_up=False)
    whole = {**seconds, "survey": [runs * run_s for run_s in seconds["run"]]}
    name = f"rehearsal: {len(methods)} sets / survey of {runs} runs"
    yield ratio(name, whole, "rehearsals", "survey", at_most=0.02)
    yield ratio("rehearsal: a run / itself (noise)", seconds, "run again", "run")


def survey_grid() -> dict[str, list[str]]:
    """Returns the values of each key of the survey's grid."""
    lines = (CONF / "sweep/survey.yaml").read_text().partition("params:\n")[2].splitlines()
    pairs = (line.partition("#")[0].strip().split(": ") for line in lines)
    return {key: values.split(",") for key, values in pairs}


def planned(*overrides: str) -> RunSpec:
    """Returns a run of the survey whose parts were rehearsed before."""
    choices = {"model": "lenet_300_100", "data": "mnist5k"}
    spec = RunSpec(plain(compose_config(overrides)), choices, "global_magnitude", "")
    verdict = rehearse_run(spec)
    assert verdict.parts
    return replace(spec, rehearsed=verdict.parts)


def rehearsing(overrides: tuple[str, ...], methods: list[str]) -> Side:
    """Returns the side that rehearses one run of each method."""

    def ready(method: str) -> Callable[[], None]:
        experiment = build(compose_config([*overrides, f"method={method}"]))
        context, state = prepare(experiment, Ranks(), Path("unused"))
        return partial(rehearse, context, state.model, None)

    every = [ready(method) for method in methods]
    return Side(lambda: None, lambda _: [rehearsal() for rehearsal in every])
