"""Tests what a user may ask of SLURM, and how it reaches submitit."""

import re

import pytest
from conftest import cases
from sbatch_stand_ins import StandIns

from harness.launch.backends.slurm_options import SlurmOptions
from harness.launch.backends.slurm_queue import refusal


def test_what_is_null_is_left_to_slurm() -> None:
    options = SlurmOptions(
        nodes=2, partition="gpu", setup=["module load cuda"]
    ).submitit_parameters("survey")
    assert options["name"] == "survey"
    assert options["nodes"] == 2
    assert options["slurm_partition"] == "gpu"
    assert options["slurm_setup"] == ["module load cuda"]
    assert not {"mem_gb", "gpus_per_node", "slurm_qos", "slurm_account"} & set(options)


def test_a_task_has_its_cpus_in_the_step_too() -> None:
    options = SlurmOptions(cpus_per_task=8).submitit_parameters("survey")
    assert options["cpus_per_task"] == 8
    assert options["slurm_srun_args"] == ["--kill-on-bad-exit=0", "--wait=100", "--cpus-per-task=8"]


def test_as_many_jobs_of_an_array_run_at_once_as_asked() -> None:
    assert SlurmOptions(parallel=7).submitit_parameters("survey")["slurm_array_parallelism"] == 7


TASK = {"SLURM_ARRAY_JOB_ID": "1005", "SLURM_ARRAY_TASK_ID": "2", "JOB": "1005_2"}


@cases(
    "status, variables, requeued",
    (75, {}, "1007"), (138, {}, "1007"), (143, TASK, "1005_2"),
    (75, {**TASK, "SLURM_RESTART_COUNT": "6"}, "1005_2"), (75, {"SLURM_RESTART_COUNT": "7"}, ""),
    (75, {"STATE": "COMPLETING"}, ""), (0, {}, ""), (1, {}, ""), (137, {}, ""),
)  # fmt: skip
def test_a_job_that_was_stopped_goes_back_into_the_queue_alone(
    tmp_path, status, variables, requeued
) -> None:
    script = tmp_path / "script"
    teardown = SlurmOptions(restarts=7).submitit_parameters("survey")["slurm_teardown"]
    script.write_text("\n".join([f"(exit {status})", "", "# teardown", *teardown]))

    done = StandIns(tmp_path, str(script)).run(**variables)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == (f"scontrol requeue {requeued}\n" if requeued else "")


def test_a_job_is_warned_by_usr1_and_requeued_by_its_script() -> None:
    options = SlurmOptions(signal_delay_s=30, restarts=7).submitit_parameters("survey")
    assert options["slurm_additional_parameters"] == {"signal": "USR1@30", "requeue": True}
    script = "\n".join(options["slurm_teardown"])
    assert '"${SLURM_RESTART_COUNT:-0}" -lt 7 ]' in script
    assert 'scontrol requeue "$job"' in script


def test_without_requeue_neither_slurm_nor_the_script_requeues() -> None:
    options = SlurmOptions(requeue=False).submitit_parameters("survey")
    assert options["slurm_additional_parameters"] == {"signal": "USR1@120", "no-requeue": True}
    assert "slurm_teardown" not in options


def test_other_options_of_sbatch_win() -> None:
    options = SlurmOptions(extra={"constraint": "a100", "signal": "USR1@5"}).submitit_parameters(
        "survey"
    )
    assert options["slurm_additional_parameters"] == {
        "signal": "USR1@5", "requeue": True, "constraint": "a100"
    }  # fmt: skip


@cases(
    "key, value, rule",
    ("nodes", 0, "a whole number >= 1"),
    ("nodes", True, "a whole number >= 1"),
    ("tasks_per_node", 1.5, "a whole number >= 1"),
    ("cpus_per_task", None, "a whole number >= 1"),
    ("timeout_min", "60", "a whole number >= 1"),
    ("parallel", 0, "a whole number >= 1"),
    ("array", 0, "a whole number >= 1"),
    ("restarts", -1, "a whole number >= 0"),
    ("signal_delay_s", -1, "a whole number >= 0"),
    ("signal_delay_s", 3600, "below the time limit, 3600 s"),
    ("gpus_per_node", -1, "a whole number >= 0 or null"),
    ("gpus_per_node", "a100:2", "a whole number >= 0 or null"),
    ("mem_gb", 0, "a number above 0 or null"),
    ("mem_gb", True, "a number above 0 or null"),
    ("requeue", "yes", "true or false"),
    ("partition", 7, "text or null"),
    ("setup", "module load cuda", "a list of text"),
    ("setup", [1], "a list of text"),
    ("extra", [], "options of sbatch, {constraint: a100}"),
)
def test_a_wrong_value_is_refused_by_its_full_name(key, value, rule) -> None:
    line = f"hydra.launcher.{key} must be {rule}, got {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}(;|$)"):
        SlurmOptions.of({key: value})


@cases(
    "values",
    {"restarts": 0, "signal_delay_s": 0, "gpus_per_node": 0},
    {"mem_gb": 0.5, "timeout_min": 1, "signal_delay_s": 59},
)
def test_the_least_values(values) -> None:
    assert SlurmOptions.of(values) == SlurmOptions(**values)


def test_a_field_that_there_is_not_is_refused_by_its_full_name() -> None:
    with pytest.raises(ValueError, match=r"^hydra.launcher.partitoin: there is no such key; "):
        SlurmOptions.of({"partitoin": "gpu"})


def test_what_sbatch_says_is_told_once() -> None:
    said = "sbatch: error: no such partition\nsbatch: error: no such partition\nfailed: x\n\n"
    assert refusal(RuntimeError(said)) == "no such partition; failed: x"
