"""environment.json: the command that makes a run again, and what it ran on."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from command import ONE_WORKER, TINY, harness, only_run, python, run_folders

from harness.run_folder.environment import gpus
from harness.system import hardware
from harness.system.hardware import cpu_model, driver_version


def about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "environment.json").read_text())


def again(folder: Path, runs: Path) -> Path:
    """Runs the command of a run's folder in another folder of runs; returns the new run's."""
    line = shlex.join([*about(folder)["command"], f"output_dir={runs}"])
    assert line.startswith("pruning-harness ")
    done = python("-m", "harness", *shlex.split(line)[1:])
    assert done.returncode == 0, done.stderr
    (sweep,) = runs.glob("[!.]*")
    return only_run(runs, sweep.name)


def test_the_command_of_a_run_makes_it_again(tmp_path) -> None:
    odd = "model.hidden=[16, 8]"  # a shell would cut it
    assert harness(*TINY, odd, f"output_dir={tmp_path}/a").returncode == 0
    run = only_run(tmp_path / "a")

    assert about(run)["command"] == ["pruning-harness", *TINY, odd, f"output_dir={tmp_path}/a"]
    assert again(run, tmp_path / "b").name == run.name


def test_a_point_of_a_sweep_has_the_command_of_its_own_run(tmp_path) -> None:
    grid = ("saliency=random,magnitude", "allocation=uniform", "sweep_name=s")
    assert harness("-m", *TINY, *grid, ONE_WORKER, f"output_dir={tmp_path}/a").returncode == 0
    for number, run in enumerate(run_folders(tmp_path / "a", "s")):
        made = again(run, tmp_path / str(number))
        assert made.name == run.name
        records = [folder / "records.jsonl" for folder in (made, run)]
        assert records[0].read_bytes() == records[1].read_bytes()


def test_ranks_that_a_run_starts_and_configs_of_ones_own_are_in_the_command(tmp_path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    asked = (f"--config-dir={tmp_path}/conf", *TINY, "experiment=mine", "launch.ranks_per_run=2")
    assert harness(*asked, f"output_dir={tmp_path}/a").returncode == 0
    run = only_run(tmp_path / "a")
    assert {*asked} <= {*about(run)["command"]}
    assert again(run, tmp_path / "b").name == run.name
    assert about(run)["numerics_key"]["world_size"] == 2
    assert "hardware" not in about(run)["numerics_key"]


def test_hardware_is_named_and_without_a_gpu_there_is_none() -> None:
    found = hardware.hardware() | gpus(torch.device("cpu"))
    assert isinstance(found["cpu"], str) and found["cpu"]
    assert found["cpus"] >= 1 and found["gpus"] == []
    assert json.loads(json.dumps(found)) == found


def test_the_processor_is_read_from_the_kernel_or_is_the_architecture(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel\t\t: 17\nmodel name\t: Some CPU @ 2 GHz \n" * 2)
    assert cpu_model(file) == "Some CPU @ 2 GHz"
    monkeypatch.setattr(hardware.platform, "processor", lambda: "")
    monkeypatch.setattr(hardware.platform, "machine", lambda: "aarch64")
    file.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert cpu_model(file) == cpu_model(tmp_path / "none") == "aarch64"


def test_the_drivers_version_is_read_where_there_is_one(tmp_path) -> None:
    file = tmp_path / "version"
    for line, version in {
        "NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024": "550.54.15",
        "NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build": "570.86.10",
    }.items():
        file.write_text(f"NVRM version: {line}\nGCC version:  gcc version 12.2.0\n")
        assert driver_version(file) == version
    file.write_text("something else 1.2 \n")
    assert driver_version(file) is driver_version(tmp_path / "none") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_gpus_are_named_with_their_memory() -> None:
    found = gpus(torch.device("cuda", 0))
    assert all(gpu["name"] and gpu["memory_gib"] > 0 for gpu in found["gpus"])
    assert found["gpus"] and found["cuda"]
