"""How W&B is started: quietly and without waiting for long."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from harness.tracking.error_guard import print_error

if TYPE_CHECKING:
    import wandb


def settings(timeout_s: float, system_metrics: bool = True) -> "wandb.Settings":
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
        # latest-run and the like, of a folder that has one run.
        "symlink": False,
        # A process of its own in every run, which tiny runs can do without.
        "x_disable_stats": not system_metrics,
    }
    # Settings come and go with W&B's versions, and it refuses unknown ones.
    known = wandb.Settings.model_fields
    return wandb.Settings(**{name: value for name, value in wishes.items() if name in known})


def check_environment() -> None:
    """
    Raises:
        ValueError: W&B refuses one of its variables in the environment, and would not start.
    """
    _check(frozenset(one for one in os.environ.items() if one[0].startswith("WANDB_")))


# Once per process: every point of a sweep asks.
@cache
def _check(variables: frozenset[tuple[str, str]]) -> None:
    if not variables:
        return
    import wandb

    for name, value in sorted(variables):
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (ValueError, wandb.Error) as error:
            # A key must not be shown.
            said = name if name.endswith(("KEY", "TOKEN")) else f"{name}={value}"
            raise ValueError(
                f"{said} in the environment is refused by W&B: {_reason(error)}; correct it, "
                "unset it, or choose tracking=none"
            ) from None


def _reason(error: Exception) -> str:
    # str() of pydantic's has the value too, and a link.
    errors = getattr(error, "errors", None)
    return " ".join(str(errors()[0]["msg"] if errors else error).split())


def free_id() -> None:
    """Ends W&B's service, for which the id of a run that failed to start stays in use."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        print_error("W&B cannot stop its service", error)


def check_writable(folder: Path) -> None:
    """
    Raises:
        OSError: files cannot be written there; W&B would silently write into /tmp instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as probe:
        probe.write(b"\0")
