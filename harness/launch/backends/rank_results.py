"""What the ranks of a run that started them say to it, as files in a folder of their own."""

import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from harness.launch.error_messages import FAILURES, WRONG_INPUT, exit_status, one_line
from harness.launch.run_spec import RunSpec
from harness.run_folder.outcome import Outcome
from harness.system.atomic_files import read_json, write_json
from harness.system.errors import RankLost, WorkersFailed
from harness.system.redaction import redacted
from harness.system.signals import INTERRUPTED, Stopped

POINT = "point.jsonl"
RAISED = {kind.__name__: kind for kind in FAILURES}
GOES_ON = "the same command goes on from the last checkpoint"


def log_of(folder: Path, rank: int) -> Path:
    """What it writes to descriptor 2, and above rank 0 to descriptor 1."""
    return folder / f"rank-{rank}.log"


def tell(folder: Path, rank: int, point: RunSpec, work: Callable[[], Outcome]) -> int:
    """Leaves there what becomes of the work; the exit status that goes with it."""
    said, status = _said(point, work)
    write_json(_file(folder, rank), said)
    return status


def result(
    folder: Path,
    ended: Sequence[tuple[int, int]],
    first: Sequence[int],
    asked: KeyboardInterrupt | None,
) -> Outcome:
    """ended: pid and status by rank, below 0 after a signal. first: ranks that failed first.
    asked: how the starter was asked to stop, if it was.

    Raises:
        Exception: what ended the run, if there is no outcome.
    """
    said = [read_json(_file(folder, rank)) or {} for rank in range(len(ended))]
    if "outcome" in said[0]:
        return Outcome(**said[0]["outcome"])
    errors = [_error(rank, one) for rank, one in enumerate(said) if "error" in one]
    # Who lost another rank says less than that one does.
    errors.sort(key=lambda error: isinstance(error, RankLost))
    dead = [rank for rank in first if ended[rank][1] < 0 and not said[rank]]
    killed = [] if asked else [_killed(rank, *ended[rank]) for rank in dead]
    lost = asked and errors and isinstance(errors[0], RankLost)
    stopped = [Stopped(one["stopped"]) for one in said if "stopped" in one]
    for error in (*killed, *([] if lost else errors), *([asked] if asked else stopped)):
        raise error
    rank = _last_word(folder, [*first, *range(len(ended))])
    raise _without_a_word(folder, rank, *ended[rank])


def _said(point: RunSpec, work: Callable[[], Outcome]) -> tuple[dict[str, Any], int]:
    try:
        return {"outcome": asdict(work())}, 0
    except Stopped as stopped:
        return {"stopped": signal.Signals[stopped.name]}, stopped.status
    except KeyboardInterrupt:
        return {"stopped": signal.SIGINT}, INTERRUPTED
    except Exception as error:
        said = {
            "error": type(error).__name__,
            "is_wrong_input": isinstance(error, WRONG_INPUT),
            "line": one_line(error, OmegaConf.create(point.config)),
            "traceback": redacted(traceback.format_exc()),
        }
        return said, exit_status(error)


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"


def _killed(rank: int, pid: int, status: int) -> WorkersFailed:
    by = signal.Signals(-status).name
    killed = f"rank {rank} (pid {pid}) was killed by {by}"
    if by == "SIGABRT":
        return WorkersFailed(
            f"{killed}: a library gave up, as gloo does on a rank that waits for other tensors "
            "than come; another rank may be the cause: look for code that sends on some ranks only"
        )
    why = " (out of memory?)" if by == "SIGKILL" else ""
    return WorkersFailed(f"{killed}{why}; {GOES_ON}")


def _error(rank: int, said: dict[str, Any]) -> Exception:
    """As the rank raised it, as far as it is one that commands tell in one line."""
    error: Exception
    if said["is_wrong_input"]:
        error = ValueError(said["line"])
    elif said["error"] in RAISED:
        error = RAISED[said["error"]](said["line"])
    else:
        error = RuntimeError(f"rank {rank}: {said['line']}")
    error.add_note(said["traceback"])
    return error


def _last_word(folder: Path, ranks: Sequence[int]) -> int:
    """The first of these ranks whose watchdog has said why it ends; one of them says it for all."""
    logs = {rank: log_of(folder, rank) for rank in ranks}
    said = (r for r, log in logs.items() if log.exists() and b"harness: " in log.read_bytes())
    return next(said, ranks[0])


def _without_a_word(folder: Path, rank: int, pid: int, status: int) -> WorkersFailed:
    lines = log_of(folder, rank).read_text(errors="replace").splitlines()
    last = f": {lines[-1].removeprefix('harness: ')}" if lines else ""
    error = WorkersFailed(f"rank {rank} (pid {pid}) ended with status {status} and no result{last}")
    error.add_note("\n".join(lines))
    return error
