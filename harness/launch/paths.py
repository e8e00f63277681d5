"""Where the configs lie that the harness brings along."""

from pathlib import Path

import harness

_PACKAGE = Path(str(harness.__file__)).parent

# An installed wheel carries conf/ inside the package; in a checkout it stands beside it.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
