"""A config of one's own that has the name of a shipped one is never left out in silence."""

import sys
from pathlib import Path

import pytest
from command import TINY, run_main

from harness.launch.compose import check_config_names
from harness.launch.paths import CONF


@pytest.fixture(name="own")
def fixture_own(tmp_path) -> Path:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    return tmp_path / "conf"


def test_another_name_and_an_equal_file_are_fine(own) -> None:
    (own / "model" / "mine.yaml").write_text("width: 3\n")
    (own / "model" / "mlp.yaml").write_bytes((CONF / "model" / "mlp.yaml").read_bytes())
    check_config_names([own, CONF])


@pytest.mark.parametrize("name", ["model/mlp", "config", "sweep/survey"])
def test_a_shipped_name_is_refused_with_both_files(own, name) -> None:
    (own / f"{name}.yaml").parent.mkdir(exist_ok=True)
    (own / f"{name}.yaml").write_text("hidden: [3]\n")
    with pytest.raises(ValueError) as refused:
        check_config_names([own])
    assert str(own / f"{name}.yaml") in str(refused.value)
    assert str(CONF / f"{name}.yaml") in str(refused.value)


@pytest.mark.parametrize("ending", ["yml", "YAML"])
def test_another_ending_than_the_one_that_is_read_is_refused(own, ending) -> None:
    (own / "data").mkdir()
    (own / "data" / f"mine.{ending}").write_text("no config that anybody could mean\n")
    check_config_names([own])
    (own / "model" / f"mlp.{ending}").write_text("hidden: [3]\n")
    with pytest.raises(ValueError, match=rf"mlp\.{ending} would not be read.*rename it to \.yaml"):
        check_config_names([own])


WAYS = ["--config-dir={}", "hydra.searchpath=[file://{}]", "hydra.searchpath=[pkg://conf]"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_a_run_and_a_sweep_do_not_start(own, way, more, monkeypatch, capfd) -> None:
    (own / "model" / "mlp.yaml").write_text("hidden: [3]\n")
    (own / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(own.parent)
    monkeypatch.delitem(sys.modules, "conf", raising=False)
    runs = own.parent / "runs"
    assert run_main(monkeypatch, *more, way.format(own), *TINY, f"output_dir={runs}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "mlp.yaml would not be read" in line and not runs.exists()
