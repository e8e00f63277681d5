"""python -m harness [KEY=VALUE ...]; -m sweeps over comma-separated values."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

TRACEBACK = "HYDRA_FULL_ERROR"


def main() -> None:
    """Runs the command line; what a user got wrong becomes one line and exit status 2."""
    _refuse_sweep_of_ranks()
    from harness.files import Busy
    from harness.launch.errors import USER_ERRORS, one_line

    wants_traceback = TRACEBACK in os.environ
    # Else Hydra prints its own, longer account and leaves.
    os.environ[TRACEBACK] = "1"
    try:
        from harness.main import main as run

        run()
    except KeyboardInterrupt:
        _leave("interrupted; the same command goes on where it stopped", 130)
    except (*USER_ERRORS, Busy) as error:
        if wants_traceback:
            raise
        _leave(one_line(error, _defaults()), 2)


def _refuse_sweep_of_ranks() -> None:
    if "RANK" in os.environ and {"-m", "--multirun"} & set(sys.argv[1:]):
        _leave(
            "-m under torchrun would run the sweep once per rank; start it with "
            "python -m harness -m ... alone",
            2,
        )


def _defaults() -> "DictConfig | None":
    from harness.launch.compose import defaults

    return defaults(sys.argv[1:])


def _leave(line: str, status: int) -> None:
    # All ranks of a wrong command fail alike; one of them speaks.
    if os.environ.get("RANK", "0") == "0":
        print(f"harness: {line}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
