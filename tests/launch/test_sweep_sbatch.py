"""Tests what slurm/sweep.sbatch, report.sbatch and survey.sh run and submit.

Stand-ins replace SLURM.
"""

from pathlib import Path

import pytest
from conftest import cases
from sbatch_stand_ins import ROOT, StandIns

TASK = {
    "SLURM_JOB_ID": "1007",
    "SLURM_ARRAY_JOB_ID": "1005",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_COUNT": "10",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_STEP": "1",
    "SLURM_NNODES": "1",
    "JOB": "1005_2",  # what squeue shall be asked for
}
WHAT_RUNS = """\
srun
--nodes=1
--ntasks=1
--cpu-bind=none
bash
-c
exec $HARNESS_PYTHON -m harness sweep run "$@"
task
runs/my sweep/.sweep/plan-1.jsonl
--part
2/10
python: python
threads: 1
signals: 
seconds to save: 
setup: \n"""
PLAN = "runs/survey/.sweep/plan-1.jsonl"
SAID = f"sweep: 126 runs, 126 of them to do\\nplan: {PLAN}\\n"
SUBMITTED = f"""\
--parsable --job-name=harness-dense slurm/sweep.sbatch {PLAN} --dense
--parsable --array=0-9 --dependency=afterok:41 --kill-on-invalid-dep=yes slurm/sweep.sbatch {PLAN}
--parsable --dependency=afterany:42 slurm/report.sbatch runs/survey
"""


# A job that runs long saves itself when it is warned, comes back, and adds to its log.
LASTING = ["--open-mode=append", "--requeue", "--signal=USR1@120", "--time=04:00:00"]


@cases(
    "script, options",
    ("train", ["--cpus-per-task=2", *LASTING, "--output=slurm/logs/%x-%j.out"]),
    ("sweep", ["--cpus-per-task=2", "--ntasks=1", *LASTING, "--output=slurm/logs/%x-%A-%a.out"]),
    ("report", ["--ntasks=1", "--output=slurm/logs/%x-%j.out", "--time=00:30:00"]),
)
def test_what_a_job_asks_of_slurm_by_itself(script, options) -> None:
    lines = (ROOT / "slurm" / f"{script}.sbatch").read_text().splitlines()
    asked = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    name = {"train": "harness"}.get(script, f"harness-{script}")
    assert sorted(asked) == sorted([*options, "--nodes=1", f"--job-name={name}"])


@pytest.fixture(name="task")
def fixture_task(tmp_path) -> StandIns:
    return StandIns(tmp_path, "sweep.sbatch")


@pytest.fixture(name="survey")
def fixture_survey(tmp_path) -> StandIns:
    return StandIns(tmp_path, "survey.sh")


def test_what_a_task_runs(task) -> None:
    done = task.run(["runs/my sweep/.sweep/plan-1.jsonl"], **TASK)
    assert (done.returncode, done.stdout, done.stderr) == (0, WHAT_RUNS, "")
    assert "SLURM_ARRAY_JOB_ID" in task.seen("env") and "_PER_TASK" not in task.seen("env")


@cases(
    "array, part",
    ({"ID": "0"}, "0/10"),
    ({"ID": "1", "MIN": "1"}, "0/10"),
    ({"ID": "10", "MIN": "1"}, "9/10"),
    ({"ID": "18", "STEP": "2"}, "9/10"),
    ({"ID": "7", "MIN": "7", "COUNT": "1"}, "0/1"),
)
def test_the_tasks_of_an_array_are_counted_from_0(task, array, part) -> None:
    changed = {f"SLURM_ARRAY_TASK_{key}": value for key, value in array.items()}
    assert f"\n--part\n{part}\n" in task.run([PLAN], **{**TASK, **changed}).stdout


def test_without_an_array_one_job_carries_out_all(task) -> None:
    done = task.run([PLAN, "--dense"], SLURM_NNODES="1")
    assert f"\n{PLAN}\n--dense\n--part\n0/1\n" in done.stdout


@cases("status", "75", "138", "143")
def test_of_an_array_only_the_task_that_stopped_is_requeued(task, status) -> None:
    done = task.run([PLAN], **TASK, STATUS=status)
    assert done.returncode == 75
    assert done.stdout.endswith("\nscontrol requeue 1005_2\n")
    assert done.stderr == "sweep.sbatch: stopped; requeued for restart 1 of at most 20\n"


@cases("status", "1", "2", "137")
def test_a_task_with_a_failed_point_keeps_its_status(task, status) -> None:
    done = task.run([PLAN], **TASK, STATUS=status)
    assert done.returncode == int(status)
    assert "requeue" not in done.stdout + done.stderr


@cases(
    "arguments, variables, line",
    ([], {}, "sweep.sbatch: give the plan, as pruning-harness sweep plan prints it: "),
    ([PLAN], {"SLURM_NNODES": "2"}, "sweep.sbatch: a task has 2 nodes and would use one; "),
)
def test_a_wrong_start_of_a_task_is_refused_in_one_line(task, arguments, variables, line) -> None:
    done = task.run(arguments, **{**TASK, **variables})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_the_report_job(tmp_path) -> None:
    report = StandIns(tmp_path, "report.sbatch")
    assert report.run(["runs/my sweep"], STATUS="2").returncode == 2
    assert report.seen("python") == "-m|harness|report|runs/my sweep|\n"
    assert list((tmp_path / "tmp").iterdir()) == []


@cases("script", "sweep.sbatch", "report.sbatch")
def test_elsewhere_than_in_the_checkout_a_job_says_where_to_go(tmp_path, script) -> None:
    done = StandIns(tmp_path, script).run([PLAN], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{script}: no slurm/job.sh in {tmp_path}; submit from ")


def test_a_survey_is_dense_training_then_the_array_then_the_report(survey) -> None:
    done = survey.run(SAID=SAID)
    assert (done.returncode, done.stderr) == (0, "")
    assert survey.seen("python") == "-m|harness|sweep|plan|sweep=survey|\n"
    assert survey.seen("calls") == SUBMITTED
    assert done.stdout == SAID.replace("\\n", "\n") + (
        "dense training: job 41\nsweep (0-9): job 42\nreport: job 43\n"
    )


def test_arguments_of_a_survey_go_to_the_plan_or_to_sbatch(survey) -> None:
    survey.run(
        ["--array=0-41%8", "sweep=smoke", "--partition=gpu", "seed=0,1", "--gpus-per-node=1"],
        SAID=SAID, CLUSTER=";west",
    )  # fmt: skip
    assert survey.seen("python") == "-m|harness|sweep|plan|sweep=smoke|seed=0,1|\n"
    wanted = SUBMITTED.replace("0-9", "0-41%8")
    options = "--parsable --partition=gpu --gpus-per-node=1"
    assert survey.seen("calls") == wanted.replace("--parsable", options)


def test_a_survey_plans_with_the_python_of_its_jobs(survey) -> None:
    survey.run(SAID=SAID, HARNESS_PYTHON="python -X dev")
    assert survey.seen("python").startswith("-X|dev|-m|harness|sweep|plan|")


def test_a_survey_whose_plan_is_refused_submits_nothing(survey) -> None:
    done = survey.run(["sweep=nix"], STATUS="2")
    assert (done.returncode, survey.seen("calls")) == (2, "")


@cases("refused, name, cancelled", ("1", "dense training", ""), ("3", "report", "scancel 41 42\n"))
def test_a_refused_job_takes_those_before_it_along(survey, refused, name, cancelled) -> None:
    done = survey.run(SAID=SAID, REFUSED=refused)
    assert done.returncode == 2
    assert done.stderr == (
        f"sbatch: error: no such partition\nsurvey.sh: {name} was refused; nothing is left in the "
        "queue\n"
    )
    calls = survey.seen("calls").splitlines(keepends=True)
    assert len([call for call in calls if call.startswith("--parsable")]) == int(refused)
    assert "".join(call for call in calls if call.startswith("scancel")) == cancelled


def test_a_survey_without_sbatch_says_where_to_start(survey) -> None:
    (survey.folder / "bin" / "sbatch").unlink()
    done = survey.run(PATH=f"{survey.folder}/bin:{_without_slurm(survey.folder)}")
    assert (done.returncode, survey.seen("python")) == (2, "")
    assert (
        done.stderr
        == "survey.sh: there is no sbatch here; start from a login node of the cluster\n"
    )


def _without_slurm(folder: Path) -> Path:
    """Returns a folder with bash alone."""
    (folder / "only").mkdir()
    (folder / "only" / "bash").symlink_to("/bin/bash")
    return folder / "only"
