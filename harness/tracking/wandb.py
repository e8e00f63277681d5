"""Weights & Biases: one W&B run per sweep, method, seed and setting, over compression."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.run_folder.sinks import Sink
from harness.system.locks import Busy, locked
from harness.system.redaction import refers
from harness.system.signals import INTERRUPTED, Stopped
from harness.tracking.artifacts import KINDS, ArtifactLogger
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import print_error
from harness.tracking.none import NullSink
from harness.tracking.rows import AXES
from harness.tracking.run_lock import SHARED
from harness.tracking.sink import RunSink
from harness.tracking.wandb_settings import check_environment, check_writable, free_id, settings
from harness.vocabulary.checks import check_fields, check_known

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
    """Sends records and epochs to W&B; an outage of W&B is reported once and stops nothing.

    Offline, wandb/ in the run's folder holds everything for `pruning-harness tracking sync`.
    Of the runs that share an id (see run_id) one at a time is online, because W&B keeps the rows
    of one of them only; the others go on offline, where they may be many.

    Raises:
        ValueError: a field, or a variable of the environment, that W&B would refuse later.
    """

    project: str = "pruning-harness"
    mode: str = "offline"
    entity: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    init_timeout_s: float = 20
    system_metrics: bool = True
    histograms: bool = True
    artifacts: tuple[str, ...] = KINDS
    dense_weights: bool = False

    def __post_init__(self) -> None:
        _check_kinds(self)
        check_known("mode", self.mode, MODES, "; to track nothing choose tracking=none")
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
        if self.mode != "disabled":
            check_environment()
        _check_tags(self.tags)
        _check_artifacts(self.artifacts)

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        with ExitStack() as stack:
            run = None if self.mode == "disabled" else self._start(info, stack)
            if run is None:
                yield NullSink()
                return
            artifacts = ArtifactLogger(self.artifacts, self.dense_weights)
            sink = RunSink(run, info, artifacts, self.histograms)
            try:
                yield sink
            except BaseException as error:
                sink.finish(_exit_code(error))
                raise
            sink.finish(exit_code=0)

    def _start(self, info: RunInfo, stack: ExitStack) -> "wandb.Run | None":
        if self.mode == "online" and (run := self._start_online(info, stack)):
            return run
        try:
            return self._init(info, "offline")
        except Exception as error:
            print_error("W&B cannot start, this run goes on without it", error)
            return None

    def _start_online(self, info: RunInfo, stack: ExitStack) -> "wandb.Run | None":
        global _online_failed
        if _online_failed:
            return None
        home = info.sweep / SHARED / run_id(info)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with ExitStack() as held:
                held.enter_context(locked(home, wait=False))
                run = self._init(info, "online")
                stack.push(held.pop_all())
            return run
        except Busy as busy:
            print_error("W&B has another run of the same id online, this one goes on offline", busy)
        except Exception as error:
            _online_failed = True
            print_error(
                "W&B cannot be reached, this process goes on offline "
                "(`pruning-harness tracking sync` later)",
                error,
            )
            free_id()
        return None

    def _init(self, info: RunInfo, mode: Literal["online", "offline"]) -> "wandb.Run":
        # Half a second, and 55 MB that a run without tracking does not need.
        import wandb

        check_writable(info.folder / "wandb")
        # Not left to init: it checks each setting twice more, and online asks a terminal for its
        # key before it looks at them, and waits for ever.
        wandb.setup(settings(self.init_timeout_s, self.system_metrics))
        run = wandb.init(
            id=run_id(info),
            resume="allow",
            reinit="create_new",
            **self._address(info, mode),
            mode=mode,
            dir=info.folder,
            group=info.group,
            job_type=info.job_type,
            name=f"{info.label} seed {info.seed}",
            tags=self._tags(info),
            notes=_as_written(info, "notes", self.notes),
            config=info.config,
        )
        for axis in ("density_of_weights", "compression", "epoch"):
            run.define_metric(axis)
        for beginning, axis in AXES.items():
            run.define_metric(f"{beginning}/*", step_metric=axis)
        return run

    def _tags(self, info: RunInfo) -> list[str]:
        own = [tag[:TAG_LENGTH] for tag in (info.method, info.model, info.data) if tag]
        return list(dict.fromkeys([*own, *_as_written(info, "tags", self.tags)]))

    def _address(self, info: RunInfo, mode: str) -> dict[str, Any]:
        """Offline the run's folder keeps it: one of the environment is left to `sync`."""
        address = {"project": self.project, "entity": self.entity}
        if mode == "online":
            return address
        return {key: None if refers(_said(info, key)) else of for key, of in address.items()}


def _said(info: RunInfo, key: str) -> Any:
    return (info.config.get("tracking") or {}).get(key)


def _as_written(info: RunInfo, key: str, value: Any) -> Any:
    said = _said(info, key)
    return said if refers(said) else value


def _exit_code(error: BaseException) -> int:
    if isinstance(error, Stopped):
        return error.status
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _check_kinds(asked: Wandb) -> None:
    for name in ("project", "entity", "notes"):
        if not isinstance(value := getattr(asked, name), str) and (
            value is not None or name == "project"
        ):
            raise ValueError(f"{name} must be a text, got {value!r}; quote a number twice")
    check_fields(asked, "true or false", "histograms", "dense_weights")
    if asked.init_timeout_s != math.inf:
        check_fields(asked, "a number", "init_timeout_s")


def _check_tags(tags: tuple[str, ...]) -> None:
    if isinstance(tags, str):
        raise ValueError(f"tags must be a list, got the text {tags!r}; write [{tags}]")
    for tag in tags:
        if not isinstance(tag, str) or not 0 < len(tag) <= TAG_LENGTH:
            raise ValueError(f"tags must be texts of 1 to {TAG_LENGTH} characters, got {tag!r}")


def _check_artifacts(kinds: tuple[str, ...]) -> None:
    if isinstance(kinds, str) or any(kind not in KINDS for kind in kinds):
        raise ValueError(
            f"artifacts must be a list with any of {', '.join(KINDS)}, got {kinds!r}; "
            "for none of them write []"
        )
