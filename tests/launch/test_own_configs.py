"""A config of one's own that has the name of a shipped one is never left out in silence."""

import sys
from pathlib import Path

import pytest
from command import TINY, only_run, records_of, run_main

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


ZOO = """
from dataclasses import dataclass, field
from harness.models.mlp import Mlp

@dataclass(frozen=True)
class Named(Mlp):
    hidden: list[int] = field(default_factory=lambda: [8])
    name: str = "small"
"""


@pytest.mark.parametrize(
    "more, shown",
    [([], ("small", "blobs", "Ours")), (["model.name=''"], ("zoo", "blobs", "Ours"))],
)
def test_records_name_a_model_by_its_name_and_a_method_by_its_label(
    more, shown, own, monkeypatch, capfd
) -> None:
    (own.parent / "zoo_of_names.py").write_text(ZOO)
    (own / "model" / "zoo.yaml").write_text("_target_: zoo_of_names.Named\nname: small\n")
    monkeypatch.syspath_prepend(own.parent)
    runs = own.parent / "runs"
    arguments = [f"--config-dir={own}", *TINY, "model=zoo", "method.label=Ours", *more]
    quick = ["training.epochs=1", f"output_dir={runs}", "progress=none"]
    assert run_main(monkeypatch, *arguments, *quick) == 0, capfd.readouterr().err
    records = records_of(only_run(runs))
    assert {(record.model, record.data, record.label) for record in records} == {shown}
