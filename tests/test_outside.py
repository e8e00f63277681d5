"""examples/own_parts against the wheel: what a user has who never saw this repository."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import cases
from torch import nn

import harness
from harness.saliency.base import CalibrationData

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "own_parts"
WEIGHTS = 2 * 32 + 4 * 32 * 32 + 32 * 3  # of ResidualMlp on Spirals that can be pruned
(README,) = re.findall(
    r"```bash \{\.compose\}\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL
)
PRETRAIN, ONE, SWEEP, TWO_RANKS, REPORT = (line.split() for line in README.splitlines())
FIRST, LAST = 0.5 * WEIGHTS, 0.25 * WEIGHTS  # kept by geometric(final=0.25, levels=2)


@dataclass(frozen=True)
class Outside:
    """Holds a copy of the example and an installed wheel, far from the checkout."""

    folder: Path
    installed: Path

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Runs the command in the example's folder, by this environment's python and torchrun."""
        env = {key: value for key, value in os.environ.items() if not _is_ours(key)}
        scripts = self.installed / "bin", Path(sys.executable).parent
        env["PATH"] = os.pathsep.join([*map(str, scripts), env["PATH"]])
        # Before site-packages, where a development install of the checkout may be.
        env["PYTHONPATH"] = str(self.installed)
        env["CUDA_VISIBLE_DEVICES"] = ""
        # Else torchrun warns that it sets it.
        env["OMP_NUM_THREADS"] = "1"
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)

    def records(self, runs: str = "runs") -> list[dict[str, Any]]:
        files = sorted((self.folder / runs).rglob("records.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _is_ours(variable: str) -> bool:
    return variable.startswith(("PYTHON", "HYDRA", "HARNESS")) or variable in ("RANK", "WORLD_SIZE")


def _run(*command: str | Path) -> None:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def outside(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Outside:
    """Returns the example with the pretrained weights already made."""
    place = tmp_path_factory.mktemp("outside")
    installed, folder = place / "installed", place / "own_parts"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps")
    _run(*pip, "--no-index", "--target", installed, wheel)
    shutil.copytree(
        EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", "runs*", "*.safetensors")
    )
    example = Outside(folder, installed)
    done = example.run(*PRETRAIN)
    assert done.returncode == 0, done.stderr
    return example


@pytest.fixture(scope="module")
def swept(outside: Outside) -> Outside:
    """Returns the example after the README's sweep.

    The sweep has two methods, each on pretrained and on random weights.
    """
    done = outside.run(*SWEEP)
    assert done.returncode == 0, done.stderr
    assert "4 finished, 0 skipped, 0 failed" in done.stdout
    return outside


def test_wheel_holds_the_package_conf_and_slurm_and_nothing_else(wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    inside = {
        name.removeprefix("harness/conf/"): content
        for name, content in files.items()
        if name.startswith("harness/conf/")
    }
    conf = {
        file.relative_to(ROOT / "conf").as_posix(): file.read_bytes()
        for file in (ROOT / "conf").rglob("*")
        if file.is_file()
    }
    assert inside == conf
    assert "config.yaml" in inside
    assert {name for name in files if name.startswith("harness/slurm/")} == {
        f"harness/slurm/{file.name}" for file in (ROOT / "slurm").iterdir() if file.is_file()
    }
    assert "harness/report/page/page.html" in files
    assert {name.split("/")[0].rpartition(".")[2] for name in files} == {"harness", "dist-info"}


def test_harness_comes_from_the_wheel_and_not_from_the_checkout(outside) -> None:
    code = "import harness.launch.paths as p; print(p.__file__); print(p.CONF)"
    paths = outside.run("python", "-c", code).stdout.split()
    home = outside.installed / "harness"
    assert paths == [str(home / "launch" / "paths.py"), str(home / "conf")]


def test_own_method_prunes_pretrained_weights_of_an_own_model(swept) -> None:
    runs = [record for record in swept.records() if record["method"] == "input_scaled"]
    pretrained, random = sorted(
        ([r for r in runs if r["run"] == run] for run in {r["run"] for r in runs}),
        key=lambda records: -records[0]["top1"],
    )
    # Not trained here: whatever level 0 knows came from the file. A guess is right in 1/3.
    assert [(r["level"], r["stage"], r["epochs"]) for r in pretrained[:1]] == [(0, "dense", 0)]
    assert pretrained[0]["top1"] > 0.95
    assert random[0]["top1"] < 0.7
    assert {(r["label"], r["model"], r["data"]) for r in runs} == {
        ("Input-scaled Magnitude", "residual_mlp", "spirals")
    }
    assert [r["density"] * WEIGHTS for r in pretrained] == [WEIGHTS, FIRST, FIRST, LAST, LAST]


def test_own_saliency_is_weight_times_root_mean_square_of_its_input(monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    saliency = importlib.import_module("input_scaled").InputScaled()
    model = nn.Sequential(nn.Linear(2, 1))
    # A mean of 0 in the second feature is no mean square of 0.
    inputs, labels = torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.tensor([0, 0])

    statistics = saliency.statistics(CalibrationData(model, [(inputs, labels)]))
    scores = saliency.score({"0.weight": torch.tensor([[2.0, -3.0]])}, statistics)

    assert scores["0.weight"].tolist() == [[6.0, 3.0]]
    assert not model[0]._forward_pre_hooks


def test_own_and_shipped_method_prune_differently_to_equal_counts(swept) -> None:
    found = {
        (r["method"], r["density"], r["masks"])
        for r in swept.records()
        if r["level"] == 1 and r["method"] in ("input_scaled", "layerwise_magnitude")
    }
    assert {density for _, density, _ in found} == {0.5}
    assert len({masks for *_, masks in found}) == len(found) == 4


def test_python_loads_a_run_of_an_own_model(swept, monkeypatch) -> None:
    monkeypatch.syspath_prepend(swept.folder)
    run, *_ = sorted((swept.folder / "runs").rglob("masks.safetensors"))
    model, masks = harness.load(run.parent, trust=["residual_mlp"])
    assert type(model[2]).__name__ == "Block"
    assert sum(int(mask.sum()) for mask in masks.values()) == LAST


def test_two_ranks_import_own_parts_and_agree_with_one(swept) -> None:
    done = swept.run(*TWO_RANKS)
    assert done.returncode == 0, done.stderr
    two = swept.records("runs_of_2")
    one = [record for record in swept.records() if record["run"] == two[0]["run"]]
    # Later masks come from retrained weights, equal up to floating-point noise only.
    assert [r["masks"] for r in two if r["level"] == 1] == [
        r["masks"] for r in one if r["level"] == 1
    ]
    assert [r["density"] for r in two] == [r["density"] for r in one]


def test_report_of_the_wheel_has_its_page(swept) -> None:
    done = swept.run(*REPORT)
    assert done.returncode == 0, done.stderr
    assert "Input-scaled Magnitude" in (swept.folder / "runs/report/report.html").read_text()


@cases(
    "change, line",
    ("model._target_=residual_mlp.Nope", r"harness: model: .*'residual_mlp\.Nope'.*\n"),
    ("model.width=16", r"harness: weights=weights\.safetensors .*\n"),
    ids=["target_that_is_not_there", "weights_of_another_model"],
)
def test_wrong_part_is_one_line_and_writes_nothing(outside, change, line) -> None:
    done = outside.run(*ONE, change, "output_dir=refused")
    assert done.returncode == 2
    assert re.fullmatch(line, done.stderr), done.stderr
    assert not (outside.folder / "refused").exists()
