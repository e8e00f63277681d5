"""A run's folder: what is written when, whether it is done already, and how it failed."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import records
from harness.delivery import deliver
from harness.distributed import Ranks
from harness.environment import commit, environment
from harness.experiment import Experiment, Identity, Place
from harness.files import locked, make_writable, read_json, write_json, write_whole
from harness.identity import Config, differences
from harness.progress import Progress
from harness.records import Record, Sink
from harness.tracking.base import RunInfo, Tracking

RERUN = ("never", "changed", "always")


@dataclass(frozen=True)
class Outcome:
    """What became of a run, for the list at a sweep's end."""

    state: str  # "finished", "skipped" or "failed"
    folder: str
    reason: str = ""


@dataclass(frozen=True)
class Run:
    """One run and its place on disk.

    config: resolved, plain values, for config.yaml; science: the part that names the run.

    Raises:
        ValueError: rerun is unknown.
    """

    folder: Path
    dense: Path
    identity: Identity
    config: Config
    science: Config
    yaml: str
    tracking: Tracking
    progress: str
    sweep_name: str
    rerun: str = "never"
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rerun not in RERUN:
            raise ValueError(f"rerun must be one of {', '.join(RERUN)}, got {self.rerun!r}")

    def execute(self, experiment: Experiment, ranks: Ranks) -> Outcome:
        """Runs the experiment in its folder unless it is finished there.

        Raises:
            ValueError: the folder cannot be written or holds another config.
            Busy: another process is in it.
        """
        done = None
        with ExitStack() as stack:
            if ranks.is_main:
                make_writable(self.folder)
                stack.enter_context(locked(self.folder, wait=False))
                self._check_config()
                done = self._finished()
            skipped: Outcome | None = ranks.send_object(done)
            if skipped:
                return skipped
            with self._status(ranks):
                self._run(experiment, ranks)
        return Outcome("finished", str(self.folder))

    def _run(self, experiment: Experiment, ranks: Ranks) -> None:
        if ranks.is_main:
            self._begin(ranks)
        with self._watcher(ranks) as watcher:
            follow = ranks.send_object(watcher.follows_epochs)
            place = Place(ranks, self.dense, self.identity, watcher, follow)
            model, masks = experiment.run(place)
        if ranks.is_main:
            deliver(self.folder, model, masks)

    def _begin(self, ranks: Ranks) -> None:
        for old in ("records.jsonl", "timings.jsonl", "model.safetensors", "masks.safetensors"):
            (self.folder / old).unlink(missing_ok=True)
        write_whole(self.folder / "config.yaml", self.yaml)
        write_json(self.folder / "identity.json", {"science": self.science, **self.facts})
        write_json(self.folder / "environment.json", environment(ranks))

    @contextmanager
    def _watcher(self, ranks: Ranks) -> Iterator["Watchers"]:
        if not ranks.is_main:
            yield Watchers([], None)
            return
        with Progress(self.progress) as progress, self.tracking.open(self._info()) as sink:
            yield Watchers([Files(self.folder, ranks.count), sink, progress], progress)

    def _info(self) -> RunInfo:
        me = self.identity
        return RunInfo(
            id=me.run,
            folder=self.folder,
            method=me.method,
            label=me.label,
            setting=me.setting,
            model=me.model,
            data=me.data,
            seed=int(self.science.get("seed", 0)),
            group=self.sweep_name,
            job_type=me.method,
            config=self.config,
        )

    def _check_config(self) -> None:
        before = read_json(self.folder / "identity.json")
        if before is None:
            if (self.folder / "records.jsonl").exists():
                raise ValueError(
                    f"{self.folder} holds records but no identity.json; they are of something "
                    "else: choose another folder with runs=PATH, or delete it"
                )
            return
        if before["science"] != json.loads(json.dumps(self.science)):
            keys = ", ".join(differences(before["science"], self.science))
            raise ValueError(
                f"{self.folder} holds results of another config (it differs in {keys}); "
                "choose another folder with runs=PATH, or delete it"
            )

    def _finished(self) -> Outcome | None:
        status = read_json(self.folder / "status.json") or {}
        if status.get("state") != "finished" or self.rerun == "always":
            return None
        made_by, now = status.get("commit"), commit()
        if made_by == now:
            return Outcome("skipped", str(self.folder), "finished before")
        if self.rerun == "changed":
            return None
        return Outcome("skipped", str(self.folder), f"finished before, by commit {made_by}")

    @contextmanager
    def _status(self, ranks: Ranks) -> Iterator[None]:
        if not ranks.is_main:
            yield
            return
        self._set_status("running")
        try:
            yield
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            self._set_status(state, reason=f"{type(error).__name__}: {error}")
            raise
        self._set_status("finished")

    def _set_status(self, state: str, reason: str = "") -> None:
        who = {"host": socket.gethostname(), "pid": os.getpid(), "commit": commit()}
        write_json(self.folder / "status.json", {"state": state, "reason": reason, **who})


class Files:
    """records.jsonl, and beside it timings.jsonl with all that a clock decides."""

    def __init__(self, folder: Path, world_size: int):
        self.folder, self.world_size = folder, world_size
        self.since = time.perf_counter()

    def log(self, record: Record) -> None:
        records.append(self.folder / "records.jsonl", record)
        now = time.perf_counter()
        timing = {
            "level": record.level,
            "stage": record.stage,
            "seconds": round(now - self.since, 4),
            "finished_at_unix_s": round(time.time(), 3),
            "world_size": self.world_size,
        }
        self.since = now
        with (self.folder / "timings.jsonl").open("a") as file:
            file.write(json.dumps(timing) + "\n")


class Watchers:
    """All that follow a run, as one."""

    def __init__(self, sinks: list[Sink], progress: Progress | None):
        self.sinks, self.progress = sinks, progress

    @property
    def follows_epochs(self) -> bool:
        return self.progress is not None and self.progress.follows_epochs

    def begin(self, levels: int, epochs: int) -> None:
        if self.progress:
            self.progress.start(levels, epochs)

    def log(self, record: Record) -> None:
        for sink in self.sinks:
            sink.log(record)

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None:
        if self.progress:
            self.progress.epoch(level, epoch, epochs, accuracy)
