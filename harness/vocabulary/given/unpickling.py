"""Reads untrusted pickles with an allow-list of classes. Nothing else is imported or called."""

import pickle
from collections.abc import Collection
from typing import IO, Any

ARRAYS = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),  # bytes, in protocol 2
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    }
)


def restricted_load(
    file: IO[bytes], allowed: Collection[tuple[str, str]], encoding: str = "ASCII"
) -> Any:
    """Returns the content of the file.

    `allowed` holds (module, name) of usable classes and functions.

    Raises:
        pickle.UnpicklingError: The file uses others. None of them was imported.
    """
    return _Only(file, allowed, encoding).load()


class _Only(pickle.Unpickler):
    def __init__(self, file: IO[bytes], allowed: Collection[tuple[str, str]], encoding: str):
        super().__init__(file, encoding=encoding)
        self._allowed = allowed

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self._allowed:
            raise pickle.UnpicklingError(f"it would use {module_name}.{global_name}")
        return super().find_class(module_name, global_name)
