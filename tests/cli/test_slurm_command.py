"""pruning-harness slurm init: the templates as they are in slurm/, and no file of a user lost."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from harness.cli.slurm import main

TEMPLATES = {
    str(file.relative_to(ROOT / "slurm")): file
    for file in (ROOT / "slurm").rglob("*")
    if file.suffix not in (".out", ".err") and file.is_file()
}


def test_an_empty_folder_gets_every_template_as_it_is_and_a_folder_for_logs(
    tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0

    written = {str(f.relative_to("slurm")): f for f in Path("slurm").rglob("*") if f.is_file()}
    assert written.keys() == TEMPLATES.keys()
    for name, file in written.items():
        assert file.read_bytes() == TEMPLATES[name].read_bytes()
        assert os.access(file, os.X_OK) == os.access(TEMPLATES[name], os.X_OK)
    assert capsys.readouterr().out == "slurm: 7 files written, 0 existed\n"
    done = subprocess.run(["bash", "-n", "slurm/survey.sh"], capture_output=True)
    assert done.returncode == 0


def test_a_second_time_writes_nothing_and_restores_what_is_gone(tmp_path, capsys) -> None:
    main(["init", str(tmp_path)])
    before = (tmp_path / "slurm" / "job.sh").stat().st_mtime_ns
    (tmp_path / "slurm" / "survey.sh").unlink()

    assert main(["init", str(tmp_path)]) == main(["init", str(tmp_path)]) == 0
    last, *_ = capsys.readouterr().out.splitlines()[::-1]
    assert last == f"{tmp_path}/slurm: 0 files written, 7 existed"
    assert (tmp_path / "slurm" / "job.sh").stat().st_mtime_ns == before
    assert os.access(tmp_path / "slurm" / "survey.sh", os.X_OK)


def test_a_changed_file_is_named_and_nothing_is_written(tmp_path, capsys) -> None:
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "train.sbatch").write_text("mine")

    assert main(["init", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/slurm: changed files (train.sbatch); nothing was written" in said
    assert said.count("\n") == 1
    assert [file.name for file in (tmp_path / "slurm").iterdir()] == ["train.sbatch"]
    assert (tmp_path / "slurm" / "train.sbatch").read_text() == "mine"


@pytest.mark.parametrize("present", ["", "file"])
def test_what_is_no_folder_is_refused(tmp_path, capsys, present) -> None:
    if present:
        (tmp_path / "there").touch()
    assert main(["init", str(tmp_path / "there")]) == 2
    said = capsys.readouterr().err
    assert said == f"harness: FOLDER={tmp_path}/there is no folder; create it first\n"
