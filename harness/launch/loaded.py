"""Sources as this process has loaded them: a file that is edited later still runs as it was."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from harness.launch.modules import file_of, is_library

_loaded: dict[str, bytes] = {}  # by module
_on_disk: dict[Path, tuple[tuple[int, int], bytes]] = {}


def source_of(module: str, file: Path) -> bytes:
    """What this process runs of a module, or would if it imported it now.

    Of a module that was imported before `watch`: as it was when that was called.
    """
    if module in sys.modules:
        if module not in _loaded:
            _loaded[module] = file.read_bytes()
        return _loaded[module]
    found = file.stat()
    state = found.st_mtime_ns, found.st_size
    if file not in _on_disk or _on_disk[file][0] != state:
        _on_disk[file] = state, file.read_bytes()
    return _on_disk[file][1]


def watch() -> None:
    """From now on, keeps the source of each module that is imported, libraries apart."""
    if any(isinstance(finder, _Watch) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Watch())
    for name in list(sys.modules):
        file = file_of(name) if name != "__main__" else None
        if file is not None and file.is_file():
            source_of(name, file)


class _Watch(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        others = (finder for finder in sys.meta_path if not isinstance(finder, _Watch))
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.has_location and spec.origin and not is_library(spec.origin):
            # A moment before its loader reads it.
            _loaded[name] = Path(spec.origin).read_bytes()
        return spec
