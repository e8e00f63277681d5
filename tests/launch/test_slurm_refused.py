"""hydra/launcher=slurm: what is refused, when, and what it leaves behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import TINY, python, run_folders
from conftest import cases
from slurm_cluster import PATIENCE_S, Slurm
from slurm_sweeps import NAME, Sweep, ended

# Refuses the calls whose numbers say so.
SBATCH = """\
#!/bin/sh
echo >> {folder}/calls
case $(wc -l < {folder}/calls) in {numbers}) echo "sbatch: error: limit" >&2; exit 1;; esac
exec {sbatch} "$@"
"""
SHORT = ("prune_at=init", "retraining.epochs=1")


def refused(runs: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    place = (f"output_dir={runs}", f"sweep_name={NAME}", "hydra/launcher=slurm")
    words = ("-m", "harness", "-m", *TINY, *place, *arguments)
    return python(*words, timeout=PATIENCE_S, **variables)


def nothing_is_left(runs: Path) -> bool:
    """True if only the sweep's plan and the digest of the data that it names are left."""
    found = [path for path in runs.rglob("*") if ".data" not in path.relative_to(runs).parts]
    files = [path.name for path in found if path.is_file()]
    folders = {path.name for path in found if path.is_dir()}
    return all(name.startswith("plan-") for name in files) and folders <= {NAME, ".sweep"}


def test_without_sbatch_it_says_where_to_start(tmp_path) -> None:
    done = refused(tmp_path / "runs", "seed=0,1", PATH=str(tmp_path))

    assert done.returncode == 2
    assert done.stderr.startswith(
        "harness: hydra/launcher=slurm needs sbatch and srun, which this machine lacks; start from"
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.fixture(name="stand_in")
def fixture_stand_in(tmp_path) -> str:
    """Returns a PATH with an sbatch that must not be called."""
    for name in ("sbatch", "srun"):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("#!/bin/sh\necho sbatch was called >&2; exit 1\n")
        file.chmod(0o755)
    return os.pathsep.join((str(tmp_path / "bin"), os.environ["PATH"]))


@cases(
    "arguments, line",
    (["hydra.launcher.nodes=0"], "hydra.launcher.nodes must be a whole number >= 1, got 0"),
    (["hydra.launcher.node=2"], "hydra.launcher.node: there is no such key; "),
    (["+hydra.launcher.node=2"], "hydra.launcher.node: there is no such key; there are: part"),
    (
        ["hydra.launcher.nodes=2", "launch.ranks_per_run=4"],
        "launch.ranks_per_run=4 conflicts with the 2 ranks of a job (hydra.launcher.nodes x t",
    ),
    (["method=random,globl_magnitude"], "method=globl_magnitude: there is no such method; "),
)
def test_wrong_input_is_told_before_anything_is_submitted(tmp_path, stand_in, arguments, line):
    done = refused(tmp_path / "runs", "seed=0,1", *arguments, PATH=stand_in)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"harness: {line}")
    assert not (tmp_path / "runs").exists()


@cases(
    "arguments, reason",
    (["hydra.launcher.partition=nix"], "invalid partition specified: nix; "),
    (["hydra.launcher.gpus_per_node=3", "seed=7"], "Batch job submission failed: Requested"),
    (["+hydra.launcher.extra.constraint=nix"], "Batch job submission failed: Invalid feature"),
)
def test_what_slurm_refuses_is_told_once_in_its_words(slurm, tmp_path, arguments, reason) -> None:
    before = queued(slurm)
    done = refused(tmp_path, "seed=0,1", *arguments, **slurm.environment)

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"harness: SLURM refuses the jobs: {reason}")
    assert nothing_is_left(tmp_path)
    assert queued(slurm) <= before


def queued(slurm: Slurm) -> set[str]:
    """Returns the ids of jobs and arrays; those of an earlier test may still be ending."""
    return set(slurm.call("squeue", "--noheader", "--format=%F").stdout.split())


def test_a_sweep_under_srun_is_refused_once(slurm, tmp_path) -> None:
    command = [sys.executable, "-m", "harness", "-m", *TINY, "seed=0,1", f"output_dir={tmp_path}"]
    done = slurm.call("srun", "-N2", "-n2", *command)

    assert done.returncode == 2
    assert done.stderr.count("harness: -m under srun would run the sweep once per rank. ") == 1
    assert nothing_is_left(tmp_path)


def limited(slurm: Slurm, folder: Path, numbers: str) -> Slurm:
    """Returns the cluster, seen through an sbatch that refuses the calls with these numbers."""
    file = folder / "bin" / "sbatch"
    file.parent.mkdir()
    sbatch = shutil.which("sbatch", path=slurm.environment["PATH"])
    file.write_text(SBATCH.format(folder=folder, numbers=numbers, sbatch=sbatch))
    file.chmod(0o755)
    seen = Slurm(slurm.base)
    seen.environment["PATH"] = f"{file.parent}:{slurm.environment['PATH']}"
    return seen


def test_an_array_that_is_refused_while_another_runs_is_submitted_after_it(slurm, tmp_path) -> None:
    sweep = Sweep(limited(slurm, tmp_path, "2"), tmp_path)
    sizes = ("hydra.launcher.array=1", "hydra.launcher.parallel=2")
    status, out, err = ended(sweep.go_on("seed=0,1", *SHORT, *sizes))

    assert status == 0, err
    assert "sweep: 2 runs: 2 finished, 0 skipped, 0 failed" in out
    assert (tmp_path / "calls").read_text().count("\n") == 3


def test_an_array_that_is_refused_for_good_is_told_after_what_ran_before_has_ended(slurm, tmp_path):
    sweep = Sweep(limited(slurm, tmp_path, "2|3"), tmp_path)
    sizes = ("hydra.launcher.array=1", "hydra.launcher.parallel=2")
    status, out, err = ended(sweep.go_on("seed=0,1", *SHORT, *sizes))

    assert (status, err) == (2, "harness: SLURM refuses the jobs: limit\n")
    assert "[1/2] finished in " in out
    assert len(run_folders(tmp_path, NAME)) == 1


def test_a_sweep_that_is_started_inside_a_job_submits_jobs_of_their_own(slurm, tmp_path) -> None:
    sweep = Sweep(slurm, tmp_path)
    script = tmp_path / "parent.sh"
    command = " ".join(f"'{word}'" for word in sweep.command("seed=0", *SHORT))
    script.write_text(f"#!/bin/bash\nexec {command}\n")
    outer = slurm.submit("--array=5", "--cpus-per-task=2", f"--output={tmp_path}/output", script)

    assert slurm.wait(f"{outer}_5")["JobState"] == "COMPLETED", (tmp_path / "output").read_text()
    assert "sweep: 1 runs: 1 finished" in (tmp_path / "output").read_text()
