from pathlib import Path

_PACKAGE = Path(__file__).parents[1]

# An installed wheel carries conf/ inside the package; in a checkout it stands beside it.
CONF = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())
