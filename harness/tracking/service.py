"""How W&B is started: quietly, without waiting for long, and what it says when it cannot."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def free_id() -> None:
    """Ends W&B's service, for which the id of a run that failed to start stays in use."""
    try:
        import wandb

        wandb.teardown()
    except Exception as error:
        tell("cannot stop its service", error)


def check_writable(folder: Path) -> None:
    """
    Raises:
        OSError: files cannot be written there; W&B would silently write into /tmp instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / ".probe"
    probe.write_bytes(b"\0")
    probe.unlink()


def tell(what: str, error: BaseException) -> None:
    reason = " ".join(str(error).split()) or type(error).__name__
    print(f"W&B {what}: {reason}", file=sys.stderr)
