"""Runs that share stages, in this process or in others."""

import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from command import TINY, run_main
from cutting import rehearses
from forked_ranks import Rank, forked, results
from grids import content_of
from omegaconf import DictConfig

import harness.cli.hydra_main
from harness.cli.main import main
from harness.launch.compose import compose_config
from harness.launch.instantiate import build_part
from harness.launch.run_spec import RunSpec as PlainPoint
from harness.launch.run_spec import build_run_spec
from harness.launch.variables import plain
from harness.run_folder.export import MASKS, MODEL
from harness.run_folder.identity import Config, hashed_config_of, run_hash
from harness.run_folder.stage_keys import StageKeys, requested_of, stage_keys, stages_to_cache
from harness.training.loop import Loop

Point = tuple[str, ...]

# 4 steps an epoch; 2 epochs of dense training, 1 of each retraining unless a point says more.
SMALL: Point = (
    *TINY, "model.hidden=[8]", "model.batch_norm=true", "progress=none", "schedule.final=0.5",
)  # fmt: skip
STEPS_PER_EPOCH = 4
SOFT = ("mask_updates=soft", "structure=neuron", "allocation=uniform")


@cache
def science_of(point: Point) -> Config:
    config = plain(compose_config(point))
    return hashed_config_of(config, data_sha256=content_of(config))


def asked(cfg: DictConfig) -> list[float | None]:
    return (
        requested_of(build_part(cfg.schedule).kept_fractions)
        if cfg.prune_at != "during_training"
        else []
    )


@cache
def chain_of(point: Point) -> StageKeys:
    return stage_keys(science_of(point), asked(compose_config(point)))


def marked(points: Iterable[Point]) -> set[str]:
    return stages_to_cache(map(chain_of, points))


def marking(marks: list[str], *given: Any) -> PlainPoint:
    """Returns the run of a command line, with the marks that a sweep would set."""
    return replace(build_run_spec(*given), shared_stages=marks)


@contextmanager
def counting() -> Iterator[list[int | str]]:
    """Yields the levels of all optimizer steps made inside; 0 is dense training.

    Steps of rehearsals are left out.
    """
    steps, update = list[int | str](), Loop._update

    def counted(loop: Loop) -> None:
        if not rehearses():
            steps.append(loop.context.level)
        update(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_update", counted)
        yield steps


def start(runs: Path, point: Point, marks: Iterable[str] = ()) -> Path:
    """Runs one run to its end in this process, and returns its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.cli.hydra_main.build_run_spec", partial(marking, list(marks)))
        assert run_main(patch, *point, f"output_dir={runs}") == 0
    return folder_of(runs, point)


def folder_of(runs: Path, point: Point) -> Path:
    name = run_hash(science_of(point))[:12]
    (folder,) = runs.glob(f"single/{name[:2]}/*-{name}")
    return folder


def left(folder: Path) -> dict[str, bytes]:
    """Returns records, and every tensor's bits: a safetensors header has any order."""
    found = {"records": (folder / "records.jsonl").read_bytes()}
    for name in (MODEL, MASKS):
        tensors = safetensors.torch.load_file(folder / name)
        found |= {f"{name} {key}": tensor.numpy().tobytes() for key, tensor in tensors.items()}
    return found


@contextmanager
def started(runs: Path, point: Point, marks: Iterable[str], victim: str = "") -> Iterator[Rank]:
    """Yields a process that runs the same, whose result is its steps after dense training.

    victim: STEP:SIGNAL, which it sends to itself before that step.
    """
    given = (victim, sorted(marks), *point, f"output_dir={runs}")
    with forked(1, _steps, *given, group=False) as (process,):
        yield process


def steps_on_ranks(count: int, runs: Path, point: Point, marks: Iterable[str]) -> list[int]:
    """Runs the same on several ranks; returns the steps after dense training that each made."""
    with forked(count, _steps, "", sorted(marks), *point, f"output_dir={runs}") as ranks:
        return results(ranks)


def _steps(victim: str, marks: list[str], *arguments: str) -> int:
    harness.cli.hydra_main.build_run_spec = partial(marking, marks)  # type: ignore[assignment]
    trained, update, (step, _, name) = [], Loop._update, victim.partition(":")

    def counted(loop: Loop) -> None:
        if not rehearses():
            trained.append(loop.context.level)
            if str(len(trained)) == step:
                os.kill(os.getpid(), signal.Signals[name])
        update(loop)

    Loop._update = counted  # type: ignore[method-assign]
    sys.argv = ["harness", *arguments]
    main()
    return sum(level != 0 for level in trained)
