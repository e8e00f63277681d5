"""Passes the results of spawned ranks to the parent process, as JSON files in one folder."""

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
from harness.system.errors import RESUME_HINT, RankLost, WorkersFailed
from harness.system.redaction import redact
from harness.system.signals import INTERRUPTED, Stopped

SPEC_FILE = "spec.json"
RAISED = {kind.__name__: kind for kind in FAILURES}


def log_of(folder: Path, rank: int) -> Path:
    """Returns the log of a rank's descriptor 2, and above rank 0 also of descriptor 1."""
    return folder / f"rank-{rank}.log"


def write_result(folder: Path, rank: int, spec: RunSpec, work: Callable[[], Outcome]) -> int:
    """Does the work, writes its result into the folder and returns the exit status."""
    content, status = _execute(spec, work)
    if folder.exists():  # another rank removes it if the parent process was killed
        write_json(_file(folder, rank), content)
    return status


def read_result(
    folder: Path,
    ended: Sequence[tuple[int, int]],
    first: Sequence[int],
    stop_request: KeyboardInterrupt | None,
) -> Outcome:
    """Returns the outcome of rank 0.

    Args:
        folder: holds the results and logs of the ranks.
        ended: pid and status by rank; a status below 0 is a signal.
        first: ranks that failed first.
        stop_request: the signal that stopped the parent process, if one came.

    Raises:
        Exception: the error that ended the run, if there is no outcome.
    """
    results = [read_json(_file(folder, rank)) or {} for rank in range(len(ended))]
    if "outcome" in results[0]:
        return Outcome(**results[0]["outcome"])
    errors = [_error(rank, result) for rank, result in enumerate(results) if "error" in result]
    # The error of a rank that failed explains more than that of a rank that lost it.
    errors.sort(key=lambda error: isinstance(error, RankLost))
    dead = [rank for rank in first if ended[rank][1] < 0 and not results[rank]]
    killed = [] if stop_request else [_killed(rank, *ended[rank]) for rank in dead]
    lost = stop_request and errors and isinstance(errors[0], RankLost)
    stopped = [Stopped(result["stopped"]) for result in results if "stopped" in result]
    for error in (
        *killed,
        *([] if lost else errors),
        *([stop_request] if stop_request else stopped),
    ):
        raise error
    rank = _rank_that_explains(folder, [*first, *range(len(ended))])
    raise _no_result(folder, rank, *ended[rank])


def _execute(spec: RunSpec, work: Callable[[], Outcome]) -> tuple[dict[str, Any], int]:
    try:
        return {"outcome": asdict(work())}, 0
    except Stopped as stopped:
        return {"stopped": signal.Signals[stopped.name]}, stopped.status
    except KeyboardInterrupt:
        return {"stopped": signal.SIGINT}, INTERRUPTED
    except Exception as error:
        content = {
            "error": type(error).__name__,
            "is_wrong_input": isinstance(error, WRONG_INPUT),
            "line": one_line(error, OmegaConf.create(spec.config)),
            "traceback": redact(traceback.format_exc()),
        }
        return content, exit_status(error)


def _file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank}.json"


def _killed(rank: int, pid: int, status: int) -> WorkersFailed:
    by = signal.Signals(-status).name
    killed = f"rank {rank} (pid {pid}) was killed by {by}"
    if by == "SIGABRT":
        return WorkersFailed(
            f"{killed}: a library aborted, as gloo does if ranks send different tensors; another "
            "rank may be the cause; look for collectives that only some ranks call"
        )
    why = " (out of memory?)" if by == "SIGKILL" else ""
    return WorkersFailed(f"{killed}{why}; {RESUME_HINT}")


def _error(rank: int, result: dict[str, Any]) -> Exception:
    """Rebuilds the error of a rank; an unexpected one becomes a RuntimeError."""
    error: Exception
    if result["is_wrong_input"]:
        error = ValueError(result["line"])
    elif result["error"] in RAISED:
        error = RAISED[result["error"]](result["line"])
    else:
        error = RuntimeError(f"rank {rank}: {result['line']}")
    error.add_note(result["traceback"])
    return error


def _rank_that_explains(folder: Path, ranks: Sequence[int]) -> int:
    """Returns the first of these ranks whose log has a message of its watchdog, else the first.

    The watchdog of one rank prints the message for all ranks.
    """
    logs = {rank: log_of(folder, rank) for rank in ranks}
    explained = (r for r, log in logs.items() if log.exists() and b"harness: " in log.read_bytes())
    return next(explained, ranks[0])


def _no_result(folder: Path, rank: int, pid: int, status: int) -> WorkersFailed:
    lines = log_of(folder, rank).read_text(errors="replace").splitlines()
    last = f": {lines[-1].removeprefix('harness: ')}" if lines else ""
    error = WorkersFailed(f"rank {rank} (pid {pid}) ended with status {status} and no result{last}")
    error.add_note("\n".join(lines))
    return error
