"""The collector of reference cycles is off while much is imported, and then as before."""

import gc
import sys

import pytest

from harness.launch.execute_lazy import import_execute
from harness.system.processes import without_collection


def test_it_is_off_inside_and_as_before_afterwards() -> None:
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()

    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_takes_long_to_import_is_imported_without_it(monkeypatch) -> None:
    class Finder:
        """Notes whether the collector is on when a run's module is searched, and finds none."""

        seen = list[bool]()

        def find_spec(self, name: str, *_: object) -> None:
            if name == "harness.launch.execute":
                self.seen.append(gc.isenabled())
                raise ImportError

    monkeypatch.delitem(sys.modules, "harness.launch.execute", raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder := Finder(), *sys.meta_path])
    with pytest.raises(ImportError):
        import_execute()
    assert finder.seen == [False]
    assert gc.isenabled()
