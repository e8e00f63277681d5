"""Finds the files that are shipped beside the modules: conf/ and slurm/."""

from pathlib import Path

import harness

_PACKAGE = Path(str(harness.__file__)).parent


def shipped(name: str) -> Path:
    """Returns the folder `name`: inside the package in a wheel, beside it in a checkout."""
    folders = (_PACKAGE / name, _PACKAGE.parent / name)
    return next(folder for folder in folders if folder.is_dir())


CONF = shipped("conf")
