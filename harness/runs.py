"""A run's folder: what is written when, whether it is done already, and how it failed."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import records
from harness.delivery import MASKS, MODEL, Delivery, deliver
from harness.distributed import Ranks
from harness.environment import commit, environment
from harness.experiment import Experiment
from harness.files import locked, make_writable, read_json, write_json, write_whole
from harness.identity import Config, differences
from harness.progress import MODES, Progress
from harness.records import Identity, Record, Sink
from harness.tracking.base import RunInfo, Tracking

RERUN = ("never", "changed", "always")


@dataclass(frozen=True)
class Outcome:
    """What became of a run, for the list at a sweep's end."""

    state: str  # "finished", "skipped" or "failed"
    folder: str
    reason: str = ""
    top1: float | None = None  # of the last record, share of test samples


@dataclass(frozen=True)
class Run:
    """One run and its place on disk.

    config: resolved, plain values, for config.yaml; science: the part that names the run.

    Raises:
        ValueError: rerun or progress is unknown.
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
    code: str = ""  # digest of the sources that decide its numbers

    def __post_init__(self) -> None:
        if self.rerun not in RERUN:
            raise ValueError(f"rerun must be one of {', '.join(RERUN)}, got {self.rerun!r}")
        if self.progress not in MODES:
            raise ValueError(f"progress must be one of {', '.join(MODES)}, got {self.progress!r}")

    def execute(self, experiment: Experiment, ranks: Ranks) -> Outcome:
        """Runs the experiment in its folder unless it is finished there.

        Everything is checked before anything is written.

        Raises:
            ValueError: the experiment cannot run, or the folder cannot be written or holds
                another config.
            Busy: another process is in the folder.
        """
        done: Outcome | None = ranks.send_object(self._finished() if ranks.is_main else None)
        if done:
            return done
        levels = experiment.prepare(ranks, self.dense)
        with ExitStack() as stack:
            if ranks.is_main:
                make_writable(self.folder)
                stack.enter_context(locked(self.folder, wait=False))
                stack.enter_context(self._status())
                self._begin(ranks)
            watcher = stack.enter_context(self._watcher(ranks))
            network, masks = levels.run(self.identity, watcher)
            if ranks.is_main:
                shape, classes = levels.subject.splits.shape, levels.subject.splits.classes
                deliver(self.folder, Delivery(network.state_dict(), masks, shape, classes))
            top1 = watcher.last.top1 if watcher.last else None
        return Outcome("finished", str(self.folder), top1=top1)

    def _begin(self, ranks: Ranks) -> None:
        for old in ("records.jsonl", "timings.jsonl", MODEL, MASKS):
            (self.folder / old).unlink(missing_ok=True)
        write_whole(self.folder / "config.yaml", self.yaml)
        write_json(self.folder / "identity.json", {"science": self.science})
        write_json(self.folder / "environment.json", environment(ranks))

    @contextmanager
    def _watcher(self, ranks: Ranks) -> Iterator["Watchers"]:
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(self.progress if ranks.is_main else "none"))
            sinks: list[Sink] = []
            if ranks.is_main:
                tracker = stack.enter_context(self.tracking.open(self._info()))
                sinks = [Files(self.folder, ranks.count), tracker, progress]
            yield Watchers(sinks, progress, ranks.send_object(progress.follows_epochs))

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

    def _finished(self) -> Outcome | None:
        """The outcome, if there is nothing left to do; checks that the folder is this run's."""
        self._check_config()
        status = read_json(self.folder / "status.json") or {}
        whole = all((self.folder / name).exists() for name in ("records.jsonl", MODEL, MASKS))
        if status.get("state") != "finished" or not whole or self.rerun == "always":
            return None
        made_by = status.get("commit")
        if (made_by, status.get("code")) == (commit(), self.code):
            return Outcome("skipped", str(self.folder), "finished before")
        if self.rerun == "changed":
            return None
        other = f"commit {made_by}" if made_by != commit() else "other code"
        return Outcome("skipped", str(self.folder), f"finished before, by {other}")

    def _check_config(self) -> None:
        before = read_json(self.folder / "identity.json")
        if before is None and not (self.folder / "records.jsonl").exists():
            return
        if not isinstance(before, dict) or "science" not in before:
            raise ValueError(
                f"{self.folder} holds records, but its identity.json is missing or damaged; "
                "delete the folder and run again"
            )
        science = before["science"]
        if science != json.loads(json.dumps(self.science)):
            keys = ", ".join(differences(science, self.science))
            raise ValueError(
                f"{self.folder} holds results of another config (it differs in {keys}); "
                "choose another folder with runs=PATH, or delete it"
            )

    @contextmanager
    def _status(self) -> Iterator[None]:
        self._set_status("running")
        try:
            yield
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            self._set_status(state, reason=f"{type(error).__name__}: {error}")
            raise
        self._set_status("finished")

    def _set_status(self, state: str, reason: str = "") -> None:
        who = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "commit": commit(),
            "code": self.code,
        }
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
    """All that follow a run, as one; on ranks above 0 nobody does."""

    def __init__(self, sinks: list[Sink], progress: Progress, follows_epochs: bool):
        self.sinks, self.progress, self.follows_epochs = sinks, progress, follows_epochs
        self.last: Record | None = None

    def begin(self, levels: int, epochs: int) -> None:
        self.progress.start(levels, epochs)

    def log(self, record: Record) -> None:
        self.last = record
        for sink in self.sinks:
            sink.log(record)

    def epoch(self, level: int, epoch: int, epochs: int, accuracy: float | None) -> None:
        self.progress.epoch(level, epoch, epochs, accuracy)
