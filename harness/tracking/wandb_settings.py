"""Starts W&B quietly, with short waits, and checks its environment first."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from harness.tracking.error_guard import print_error

if TYPE_CHECKING:
    import wandb


def settings(timeout_s: float, system_metrics: bool = True) -> "wandb.Settings":
    """Returns W&B's settings; those that the installed version lacks are left out."""
    import wandb

    wanted: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "init_timeout": timeout_s,
        "login_timeout": timeout_s,
        # By default, the end of a run waits until the server is back.
        "finish_timeout": timeout_s,
        "finish_timeout_raises": True,
        # A killed run loses the rows that were not flushed; the default is 15 s.
        "x_transaction_log_flush_interval": 0.5,
        # Listing the packages takes most of a start; environment.json lists them too.
        "x_save_requirements": False,
        # Links such as latest-run are useless in a folder of one run.
        "symlink": False,
        # Statistics need one more process per run.
        "x_disable_stats": not system_metrics,
    }
    # W&B refuses settings that its version does not know.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})


def check_environment() -> None:
    """Checks the variables WANDB_* of the environment.

    Raises:
        ValueError: W&B refuses one of them, and would not start.
    """
    _check(frozenset(item for item in os.environ.items() if item[0].startswith("WANDB_")))


# Cached: every run of a sweep checks the same variables.
@cache
def _check(variables: frozenset[tuple[str, str]]) -> None:
    if not variables:
        return
    import wandb

    for name, value in sorted(variables):
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (ValueError, wandb.Error) as error:
            # A secret must not be printed.
            shown = name if name.endswith(("KEY", "TOKEN")) else f"{name}={value}"
            raise ValueError(
                f"{shown} in the environment is refused by W&B: {_reason(error)}; correct or "
                "unset it, or set tracking=none"
            ) from None


def _reason(error: Exception) -> str:
    # str() of a pydantic error would contain the value and a link.
    errors = getattr(error, "errors", None)
    return " ".join(str(errors()[0]["msg"] if errors else error).split())


def free_id() -> None:
    """Ends W&B's service, which still holds the id of a run that failed to start."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        print_error("W&B cannot stop its service", error)


def check_writable(folder: Path) -> None:
    """Checks that a folder is writable; W&B would silently write into /tmp instead.

    Raises:
        OSError: files cannot be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
