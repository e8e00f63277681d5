"""Logs runs to Weights & Biases: one W&B run per sweep, method, seed and setting."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from harness.extras import check_extra
from harness.run_folder.sinks import Sink
from harness.system.locks import Busy, locked
from harness.system.redaction import has_reference
from harness.system.signals import INTERRUPTED, Stopped
from harness.tracking.artifacts import KINDS, ArtifactLogger, Kind
from harness.tracking.base import RunInfo
from harness.tracking.error_guard import print_error
from harness.tracking.none import NullSink
from harness.tracking.rows import AXES
from harness.tracking.run_lock import SHARED
from harness.tracking.sink import RunSink
from harness.tracking.wandb_settings import check_environment, check_writable, free_id, settings
from harness.vocabulary.checks import check_declared

if TYPE_CHECKING:
    import wandb

TAG_LENGTH = 64
TAG = "text of 1 to 64 characters"
TEXT = "text; quote a number twice"
PROJECT = "text of 1 to 128 characters; set a team as entity"
TIMEOUT = "a number of seconds in (0, 86400] or inf; to use no server, set mode=offline"

# True for the whole process: a sweep of 126 runs must not wait for a dead server 126 times.
_online_failed = False


def run_id(info: RunInfo) -> str:
    """Returns 16 hex digits of SHA-256 over the JSON list [group, method, seed, setting].

    Runs that differ in compression only share an id: they continue one W&B run.
    """
    identity = json.dumps([info.group, info.method, info.seed, info.setting])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Wandb:
    """Sends records and epochs to W&B; an error of W&B is reported once and stops nothing.

    Offline, wandb/ in the run folder holds everything for `pruning-harness tracking sync`. Of the
    runs that share an id (see run_id), one at a time is online: W&B keeps the rows of only one.
    The other runs log offline.

    Raises:
        ValueError: W&B would refuse a field, or a variable of the environment, later.
    """

    project: Annotated[str, PROJECT] = "pruning-harness"
    mode: Literal["online", "offline", "disabled"] = "offline"
    entity: Annotated[str, TEXT] | None = None
    tags: tuple[Annotated[str, TAG], ...] = ()
    notes: Annotated[str, TEXT] | None = None
    init_timeout_s: Annotated[float, TIMEOUT] = 20
    system_metrics: bool = True
    histograms: bool = True
    artifacts: tuple[Kind, ...] = KINDS
    dense_weights: bool = False

    def __post_init__(self) -> None:
        check_declared(self)
        if set(self.project) & set("/\\#?%:"):
            raise ValueError(
                f"project must have none of /\\#?%:, got {self.project!r}; set a team as entity"
            )
        if self.mode != "disabled":
            check_extra("wandb", "tracking=wandb", remedy=", or write tracking=none")
            check_environment()

    @contextmanager
    def open(self, info: RunInfo) -> Iterator[Sink]:
        with ExitStack() as stack:
            run = None if self.mode == "disabled" else self._start(info, stack)
            if run is None:
                yield NullSink()
                return
            artifacts = ArtifactLogger(self.artifacts, self.dense_weights)
            sink = RunSink(run, info, artifacts, self.histograms, self.init_timeout_s)
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
            print_error("W&B cannot start; this run continues without it", error)
            return None

    def _start_online(self, info: RunInfo, stack: ExitStack) -> "wandb.Run | None":
        global _online_failed
        if _online_failed:
            return None
        home = info.sweep / SHARED / run_id(info)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with ExitStack() as locks:
                locks.enter_context(locked(home, wait=False))
                run = self._init(info, "online")
                stack.push(locks.pop_all())
            return run
        except Busy as busy:
            print_error(
                "W&B has another run of the same id online; this run continues offline", busy
            )
        except Exception as error:
            _online_failed = True
            print_error(
                "W&B cannot be reached; this process continues offline "
                "(`pruning-harness tracking sync` later)",
                error,
            )
            free_id()
        return None

    def _init(self, info: RunInfo, mode: Literal["online", "offline"]) -> "wandb.Run":
        # Imported here: it takes half a second and 55 MB, which other runs do not need.
        import wandb

        check_writable(info.folder / "wandb")
        # Not left to init, which checks each setting twice more. Online, init asks for the key on
        # a terminal before it reads the settings, and waits for ever.
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
            notes=_unresolved(info, "notes", self.notes),
            config=info.config,
        )
        for axis in ("density_of_weights", "compression", "epoch"):
            run.define_metric(axis)
        for beginning, axis in AXES.items():
            run.define_metric(f"{beginning}/*", step_metric=axis)
        return run

    def _tags(self, info: RunInfo) -> list[str]:
        own = [tag[:TAG_LENGTH] for tag in (info.method, info.model, info.data) if tag]
        return list(dict.fromkeys([*own, *_unresolved(info, "tags", self.tags)]))

    def _address(self, info: RunInfo, mode: str) -> dict[str, Any]:
        """Returns project and entity; offline, None for a variable that `sync` resolves."""
        address = {"project": self.project, "entity": self.entity}
        if mode == "online":
            return address
        return {
            key: None if has_reference(_config_value(info, key)) else value
            for key, value in address.items()
        }


def _config_value(info: RunInfo, key: str) -> Any:
    return (info.config.get("tracking") or {}).get(key)


def _unresolved(info: RunInfo, key: str, value: Any) -> Any:
    written = _config_value(info, key)
    return written if has_reference(written) else value


def _exit_code(error: BaseException) -> int:
    if isinstance(error, Stopped):
        return error.status
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
