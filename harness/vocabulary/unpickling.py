"""Reading pickles that may come from anybody: of few named classes, and nothing is called."""

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
    """What the file holds; allowed: (module, name) of the classes and functions that it may use.

    Raises:
        pickle.UnpicklingError: it uses others; none of them was imported.
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
