"""Tests slurm/sweep.sbatch and survey.sh on a real cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import run_folders
from conftest import cases
from sbatch_stand_ins import ROOT
from slowed import SLOW
from slurm_cluster import wait_until
from slurm_sweeps import NAME, RUN, Sweep, resumed, undisturbed

SCRIPT = ROOT / "slurm" / "sweep.sbatch"
METHODS = ("global_magnitude", "random", "snip")
GRID = (*RUN, f"method={','.join(METHODS)}")


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[str, bytes]:
    points = [[f"method={method}"] for method in METHODS]
    return undisturbed(tmp_path_factory.mktemp("alone"), *points)


def planned(folder: Path) -> str:
    """Returns the path of the plan."""
    command = [sys.executable, "-m", "harness", "sweep", "plan", *GRID]
    done = subprocess.run(
        [*command, f"output_dir={folder}", f"sweep_name={NAME}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("plan: ")[2].strip()


def test_an_array_shares_out_the_points_and_a_warned_task_is_requeued_alone_and_goes_on(
    slurm, tmp_path, alone
) -> None:
    sweep = Sweep(slurm, tmp_path)
    sweep.slow.touch()
    array = slurm.submit(
        "--array=1-2", "--cpus-per-task=1", f"--output={tmp_path}/output-%a", f"--chdir={ROOT}",
        SCRIPT, planned(tmp_path), HARNESS_PYTHON=sys.executable, **{SLOW: str(sweep.slow)},
    )  # fmt: skip
    with sweep.in_its_middle(2):
        assert slurm.call("scancel", "--signal=USR1", f"{array}_2").returncode == 0
        wait_until(lambda: slurm.show(f"{array}_2")["JobState"] != "RUNNING", "the task to leave")
    ends = [slurm.wait(f"{array}_{task}") for task in (1, 2)]

    assert [end["JobState"] for end in ends] == ["COMPLETED", "COMPLETED"]
    assert [end["Restarts"] for end in ends] == ["0", "1"]
    first, second = ((tmp_path / f"output-{task}").read_text() for task in (1, 2))
    assert "sweep: 2 runs: 2 finished, 0 skipped, 0 failed" in first
    assert "sweep.sbatch: stopped; requeued for restart 1 of at most 20" in second
    assert "sweep: 1 runs: 1 finished, 0 skipped, 0 failed" in second
    assert sum(map(resumed, sweep.runs)) == 1
    assert sweep.records == alone


def test_a_plan_that_is_submitted_twice_at_once_is_carried_out_once(slurm, tmp_path, alone):
    sweep, plan = Sweep(slurm, tmp_path), planned(tmp_path)
    arrays = [
        slurm.submit(
            "--cpus-per-task=1", f"--output={tmp_path}/output-%j", f"--chdir={ROOT}", SCRIPT, plan,
            HARNESS_PYTHON=sys.executable,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [slurm.wait(array)["JobState"] for array in arrays] == ["COMPLETED", "COMPLETED"]
    said = "".join((tmp_path / f"output-{array}").read_text() for array in arrays)
    assert said.count("\nfinished in ") + said.startswith("finished in ") == 3
    assert sweep.records == alone


def test_a_survey_goes_from_plan_to_report_also_with_a_failing_point(slurm, tmp_path) -> None:
    (tmp_path / "once").touch()  # it has failed already
    done = subprocess.run(
        [
            ROOT / "slurm" / "survey.sh", "--array=0-1", "--cpus-per-task=1",
            f"--output={tmp_path}/%j", "sweep=smoke", "seed=0", "method=global_magnitude",
            "saliency._target_=unruly.Unruly", "+saliency.how=raise",
            f"+saliency.once={tmp_path}/once,null", "tracking=none", f"output_dir={tmp_path}",
        ],
        env={**slurm.environment, "HARNESS_PYTHON": sys.executable}, cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dense, array, report = (line.rpartition(" ")[2] for line in done.stdout.splitlines()[-3:])

    assert slurm.wait(report)["JobState"] == "COMPLETED"
    assert slurm.wait(dense)["JobState"] == "COMPLETED"
    ends = [slurm.wait(f"{array}_{task}")["JobState"] for task in (0, 1)]
    assert sorted(ends) == ["COMPLETED", "FAILED"]
    assert len(list(tmp_path.glob(".cache/dense/*/*/*.safetensors"))) == 1
    assert len(run_folders(tmp_path, "smoke")) == 4
    assert (tmp_path / "smoke" / "report" / "report.html").exists(), os.listdir(tmp_path / "smoke")


@cases(
    "ends, dense, sweep",
    # Stopped, and finished after a restart.
    ('[ "$SLURM_RESTART_COUNT" ] || exit 75', "COMPLETED", "COMPLETED"),
    ("exit 2", "FAILED", "CANCELLED"),
)
def test_the_array_begins_when_dense_training_has_succeeded_and_never_if_it_failed(
    slurm, tmp_path, ends, dense, sweep
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{ends}\n")
    python.chmod(0o755)
    place = (f"--output={tmp_path}/%j", f"--chdir={ROOT}")
    before = slurm.submit("--hold", *place, SCRIPT, "plan", HARNESS_PYTHON=str(python))
    after = slurm.submit(
        f"--dependency=afterok:{before}", "--kill-on-invalid-dep=yes", *place, SCRIPT, "plan",
        HARNESS_PYTHON="true",
    )  # fmt: skip
    assert slurm.call("scontrol", "release", before).returncode == 0

    assert slurm.wait(before)["JobState"] == dense, (tmp_path / before).read_text()
    assert slurm.wait(after)["JobState"] == sweep
