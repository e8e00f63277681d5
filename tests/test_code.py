"""Results of changed code are not taken for those of the code that is there now."""

import sys
from pathlib import Path

import pytest

from harness.launch.code import code_of

SOURCE = "class Own:\n    width = {}\n"


@pytest.fixture(name="own")
def fixture_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    module = tmp_path / "own_for_code_test.py"
    module.write_text(SOURCE.format(1))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return module


def test_the_source_of_an_own_part_decides(own: Path) -> None:
    parts = {"model": {"_target_": "own_for_code_test.Own"}}
    before = code_of(parts)

    assert code_of(parts) == before
    own.write_text(SOURCE.format(2))
    assert code_of(parts) != before


def test_nested_parts_count_and_plain_values_and_libraries_do_not() -> None:
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    rate = {"_target_": "harness.learning_rate.cosine.Cosine"}

    bare = code_of({})
    assert code_of({"training": {"epochs": 3, "optimizer": optimizer}}) == bare
    assert code_of({"training": {"learning_rate": rate}}) != bare
