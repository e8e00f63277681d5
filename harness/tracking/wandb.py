"""Weights & Biases: one W&B run per sweep, method, seed and setting, over compression."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.records import Record, Sink
from harness.tracking.base import RunInfo
from harness.tracking.none import Silent
from harness.tracking.rows import LAST_STAGES, LAYER_COLUMNS, Steps, layer_rows, row

if TYPE_CHECKING:
    import wandb

MODES = ("online", "offline", "disabled")
TAG_LENGTH = 64

# Kept for the process: a sweep of 126 runs must not wait for the same dead server 126 times.
_online_failed = False


def run_id(info: RunInfo) -> str:
    """First 16 hex digits of SHA-256 over the JSON list [group, method, seed, setting].

    The runs of a survey differ in compression only, so they continue one W&B run.
    """
    identity = json.dumps([info.group, info.method, info.seed, info.setting])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Wandb:
    """Sends each record to W&B; an outage of W&B is told once and stops nothing.

    Offline, wandb/ in the run's folder holds everything for a later `wandb sync`. Several runs
    that share an id (see run_id) must not be online at the same time: W&B keeps the rows of
    one of them only. Offline they may.

    Raises:
        ValueError: a field that W&B would refuse later.
    """

    project: str = "pruning-harness"
    mode: str = "offline"
    entity: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    init_timeout_s: float = 20

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(
                f"mode must be one of {', '.join(MODES)}, got {self.mode!r}; "
                "to track nothing choose tracking=none"
            )
        if not 0 < len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):
            raise ValueError(
                f"project must have 1 to 128 characters, none of /\\#?%:, got {self.project!r}; "
                "a team goes into entity"
            )
        if not self.init_timeout_s > 0:
            raise ValueError(
                f"init_timeout_s must be above 0 seconds, got {self.init_timeout_s}; "
                "to wait for no server choose mode=offline"
            )
        _check_tags(self.tags)

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        run = None if self.mode == "disabled" else self._start(info)
        if run is None:
            yield Silent()
            return
        sink = _RunSink(run, info.earlier)
        try:
            yield sink
        except BaseException:
            sink.finish(exit_code=1)
            raise
        sink.finish(exit_code=0)

    def _start(self, info: RunInfo) -> "wandb.Run | None":
        global _online_failed
        if self.mode == "online" and not _online_failed:
            try:
                return self._init(info, "online")
            except Exception as error:
                _online_failed = True
                _tell("cannot be reached, this process goes on offline (`wandb sync` later)", error)
                _free_id()
        try:
            return self._init(info, "offline")
        except Exception as error:
            _tell("cannot start, this run goes on without it", error)
            return None

    def _init(self, info: RunInfo, mode: Literal["online", "offline"]) -> "wandb.Run":
        # Half a second, and 55 MB that a run without tracking does not need.
        import wandb

        info.folder.mkdir(parents=True, exist_ok=True)
        settings = _settings(self.init_timeout_s)
        # Without this an online run asks a terminal for its key, and waits for ever.
        wandb.setup(settings)
        run = wandb.init(
            id=run_id(info),
            resume="allow",
            reinit="create_new",
            project=self.project,
            entity=self.entity,
            mode=mode,
            dir=info.folder,
            group=info.group,
            job_type=info.job_type,
            name=f"{info.label} seed {info.seed}",
            tags=self._tags(info),
            notes=self.notes,
            config=info.config,
            settings=settings,
        )
        run.define_metric("compression")
        run.define_metric("*", step_metric="compression")
        return run

    def _tags(self, info: RunInfo) -> list[str]:
        own = [tag[:TAG_LENGTH] for tag in (info.method, info.model, info.data) if tag]
        return list(dict.fromkeys([*own, *self.tags]))


class _RunSink:
    """One open W&B run. Whatever W&B raises is told once and the caller goes on."""

    def __init__(self, run: "wandb.Run", earlier: Sequence[Record] = ()) -> None:
        self._run = run
        self._steps = Steps(free=run.starting_step)
        self._layers = [line for record in earlier for line in layer_rows(record)]
        self._told = False

    def log(self, record: Record) -> None:
        self._layers += layer_rows(record)
        if record.level == 0 and self._run.starting_step > 0:
            # An earlier run of the same id has sent the same dense model.
            return
        step, last = self._steps.of(record), record.stage in LAST_STAGES
        # Without the commit W&B holds a row back until the next level begins.
        self._attempt(lambda: self._run.log(row(record), step=step, commit=last))
        if last:
            self._steps.close_level()

    def epoch(self, level: int, epoch: int, loss: float, accuracy: float) -> None: ...

    def finish(self, exit_code: int) -> None:
        if self._layers:
            self._attempt(self._log_layers)
        self._attempt(lambda: self._run.finish(exit_code=exit_code))

    def _log_layers(self) -> None:
        import wandb

        table = wandb.Table(columns=[*LAYER_COLUMNS], data=[*self._layers])
        self._run.log({"layers": table, "compression": self._layers[-1][0]})

    def _attempt(self, send: Callable[[], None]) -> None:
        try:
            send()
        except Exception as error:
            if not self._told:
                _tell("did not get all of this run (records.jsonl has it)", error)
            self._told = True


def _free_id() -> None:
    """Ends W&B's service, for which the id of a run that failed to start stays in use."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        _tell("cannot stop its service", error)


def _settings(timeout_s: float) -> "wandb.Settings":
    import wandb

    wishes: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "init_timeout": timeout_s,
        "login_timeout": timeout_s,
        # Else the end of a run waits for as long as the server is gone.
        "finish_timeout": timeout_s,
        "finish_timeout_raises": True,
        # A killed run loses what was not flushed; the default is 15 s.
        "x_transaction_log_flush_interval": 0.5,
        # Listing the installed packages is most of a start; environment.json has them.
        "x_save_requirements": False,
    }
    # Settings come and go with W&B's versions, and it refuses unknown ones.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in wishes.items() if name in known})


def _check_tags(tags: tuple[str, ...]) -> None:
    if isinstance(tags, str):
        raise ValueError(f"tags must be a list, got the text {tags!r}; write [{tags}]")
    for tag in tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= TAG_LENGTH:
            raise ValueError(f"tags must be texts of 1 to {TAG_LENGTH} characters, got {tag!r}")


def _tell(what: str, error: Exception) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    print(f"W&B {what}: {reason}", file=sys.stderr)
