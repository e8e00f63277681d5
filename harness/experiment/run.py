"""Executes a run in its folder: lock, resume, results and status."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness.distributed import Ranks
from harness.distributed.stop_signal import StopSignal
from harness.experiment.context import RunContext
from harness.experiment.experiment import Experiment
from harness.experiment.recorder import Recorder, record_of
from harness.experiment.rehearsals.rehearsal import rehearse
from harness.experiment.results.model_files import ModelFiles, model_files
from harness.experiment.runner import prepare, run
from harness.experiment.state import RunState, resume
from harness.metrics.latency import Latency
from harness.run_folder import records
from harness.run_folder.checkpoints import Checkpoints, Policy
from harness.run_folder.console import MODES, Progress
from harness.run_folder.environment import numerics_key
from harness.run_folder.followers import RecordWriter, Sinks
from harness.run_folder.identity import Config
from harness.run_folder.outcome import RERUN, Outcome, check_home, finished, results_of
from harness.run_folder.own_files import RunFolder
from harness.run_folder.progress_file import ProgressFile
from harness.run_folder.records import Identity, Record
from harness.run_folder.stage_keys import SharedStages
from harness.run_folder.status_file import Status
from harness.system.atomic_files import CannotWrite
from harness.system.errors import LeaseLost
from harness.system.redaction import redact
from harness.tracking.base import RunInfo, Tracking
from harness.training.checkpointing import Checkpointer
from harness.training.folder_lock import run_folder_lock
from harness.vocabulary.checks import check_known

Entered = tuple[RunContext, RunState, Checkpoints]


@dataclass(frozen=True)
class Run:
    """Describes one run and its folder.

    config: plain values, environment variables as written. hashed_config: the values that name the
    run. written: the same values, as they may be stored.

    Raises:
        ValueError: rerun or progress is unknown.
    """

    REHEARSED: ClassVar[tuple[str, ...]] = ()  # keys of what is rehearsed; () is all

    folder: Path
    dense: Path
    identity: Identity
    config: Config
    hashed_config: Config
    written: Config
    yaml: str
    tracking: Tracking
    progress: str
    sweep_name: str
    policy: Policy = field(default_factory=Policy)
    latency: Latency | None = None
    export: tuple[str, ...] = ()  # formats of further files
    rerun: str = "never"
    rehearse: bool = True
    parts: str = ""  # equal for runs that are rehearsed once
    code: str = ""  # digest of the sources that decide the run's numbers
    command: tuple[str, ...] = ()  # command line that repeats this run alone
    shared: SharedStages | None = None  # None computes all stages

    def __post_init__(self) -> None:
        check_known("rerun", self.rerun, RERUN)
        check_known("progress", self.progress, MODES)

    @property
    def results(self) -> tuple[str, ...]:
        """Returns the names of the files that the run ends in."""
        return results_of(self.config)

    @property
    def _file(self) -> Status:
        return Status(self.folder, self.code)

    def execute(self, experiment: Experiment, ranks: Ranks) -> Outcome:
        """Runs the experiment unless it is complete; checks all before anything is written.

        Raises:
            ValueError: the experiment cannot run, or the folder cannot be written or holds
                another config.
            Busy: another process holds the folder's lock.
            Stopped: a signal arrived, and the run is saved.
        """
        with self._enter(experiment, ranks) as entered:
            if isinstance(entered, Outcome):
                return entered
            context, state, files = entered
            with self._open_sinks(ranks) as sink:
                run(Recorder(context, state, self.identity, sink, files, self.latency))
                results = model_files(context, state, self.config, self.export)
                ranks.on_main(lambda: self._complete(context, state, results))
                last = sink.last  # None above rank 0
            # Again, because a tracker may have run for long in between.
            ranks.on_main(lambda: self._restore(context, state))
        measured = (last.value, last.validation_value, last.primary) if last else ()
        return Outcome("finished", str(self.folder), "", *measured)

    @contextmanager
    def _enter(self, experiment: Experiment, ranks: Ranks) -> Iterator[Outcome | Entered]:
        """Yields the run under its folder's lock, ready to start or resume; or its outcome."""
        if done := ranks.on_main(self._finished):
            yield done
            return
        with StopSignal(ranks) as stop, ExitStack() as stack:
            checkpointer = Checkpointer(ranks, stop, self.policy, numerics_key(ranks), self.code)
            context, state = prepare(experiment, ranks, self.dense, checkpointer, self.shared)
            if self.rehearse:
                rehearse(context, state.model, self.latency, self.export, self.REHEARSED)
            stack.enter_context(run_folder_lock(self.folder, checkpointer))
            # Another process may have finished the run just before this one got the lock.
            if done := ranks.on_main(self._finished):
                yield done
                return
            files = checkpointer.checkpoints(self.folder)
            restarted = stack.enter_context(self._status(ranks, files))
            saved = checkpointer.latest(files)
            if saved:
                context = resume(context, state, saved)
                ranks.on_main(lambda: self._log_resumed(context, state))
            else:
                ranks.on_main(lambda: self._begin(files, ranks, restarted))
            yield context, state, files

    def train_dense(self, experiment: Experiment, ranks: Ranks) -> Outcome:
        """Trains the dense model into the cache that several runs share."""
        with StopSignal(ranks) as stop:
            checkpointer = Checkpointer(ranks, stop, self.policy, numerics_key(ranks), self.code)
            context, state = prepare(experiment, ranks, self.dense, checkpointer)
            if self.rehearse:
                rehearse(context, state.model, self.latency, self.export, self.REHEARSED)
            context.dense.at(context.dense.end)
        return Outcome("finished", str(self.dense))

    @property
    def _home(self) -> RunFolder:
        return RunFolder(self.folder, self.results, self.written, self.yaml, self.command)

    def _begin(self, files: Checkpoints, ranks: Ranks, restarted: bool) -> None:
        self._home.begin(files, ranks)
        if restarted:
            RecordWriter(self.folder, ranks.world_size).log_timing(event="restarted")

    def _log_resumed(self, context: RunContext, state: RunState) -> None:
        ranks, training = context.ranks, state.training
        self._home.describe(ranks)
        # Records after the checkpoint are measured again, with the same result.
        self._restore(context, state, further=True)
        facts: dict[str, Any] = {"records": len(state.found_records)}
        facts |= {key: training[key] for key in ("epoch", "step")} if training else {}
        facts["numerics_key"] = numerics_key(ranks)
        RecordWriter(self.folder, ranks.world_size).log_timing(event="resumed", **facts)

    def _complete(self, context: RunContext, state: RunState, results: ModelFiles) -> None:
        """Writes the run's results from its own state."""
        results.write(self.folder)
        self._restore(context, state)

    def _restore(self, context: RunContext, state: RunState, further: bool = False) -> None:
        measured = [record_of(context, each, self.identity) for each in state.found_records]
        self._home.restore(measured, further=further)

    @contextmanager
    def _open_sinks(self, ranks: Ranks) -> Iterator[Sinks]:
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(self.progress if ranks.is_main else "none"))
            path = self.folder / "records.jsonl"
            earlier = ranks.on_main(lambda: records.read(path, missing_ok=True))
            if not ranks.is_main:
                yield Sinks(progress)
                return
            tracker = stack.enter_context(self.tracking.open(self._info(earlier)))
            files, position = RecordWriter(self.folder, ranks.world_size), ProgressFile(self.folder)
            stack.push(lambda kind, error, trace: position.close(done=error is None))
            yield Sinks(progress, files, position, [tracker], earlier[-1] if earlier else None)

    def _info(self, earlier: list[Record]) -> RunInfo:
        identity = self.identity
        return RunInfo(
            id=identity.run,
            folder=self.folder,
            method=identity.method,
            label=identity.label,
            setting=identity.setting,
            model=identity.model,
            data=identity.data,
            seed=int(self.hashed_config.get("seed", 0)),
            group=self.sweep_name,
            job_type=identity.method,
            config=self.config,
            sweep=self.folder.parents[1],
            dense=self.dense,
            earlier=tuple(earlier),
        )

    def _finished(self) -> Outcome | None:
        """Returns the outcome of a complete run; checks that the folder is this run's."""
        # A damaged identity cannot be checked; the folder's name contains the run's hash.
        if not self._file.damage(["identity.json"]):
            check_home(self.folder, self.written, self.results[0])
        return finished(self.folder, self.code, self.rerun, self.results)

    @contextmanager
    def _status(self, ranks: Ranks, files: Checkpoints) -> Iterator[bool]:
        restarted = ranks.on_main(lambda: self._start(files))
        try:
            with ranks.on_rank_loss(lambda why: self._set_state("failed", why)):
                yield restarted
                ranks.on_main(lambda: self._home.settle(ranks))
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            cause = ranks.diagnose(error)
            if ranks.is_main:
                self._set_state(state, f"{type(cause).__name__}: {cause}")
            raise
        ranks.on_main(lambda: self._finish(files))

    def _set_state(self, state: str, reason: str) -> None:
        # A full disk must not hide the reason; without the lease the folder is another process's.
        with suppress(CannotWrite, LeaseLost):
            self._file.set(state, reason=redact(reason))

    def _start(self, files: Checkpoints) -> bool:
        """Returns True if an earlier start was interrupted."""
        previous = self._file.read().get("state")
        if damage := self._file.damage(results=self.results):
            print(f"warning: {damage}; doing the run again", file=sys.stderr)
        if previous == "finished":  # the run is done again from the beginning
            files.clear()
            (self.folder / "timings.jsonl").unlink(missing_ok=True)
        self._file.set("running")
        return previous not in (None, "finished")

    def _finish(self, files: Checkpoints) -> None:
        # In this order: if interrupted in between, the run is complete.
        self._file.set("finished")
        files.clear()
