"""Tests ranks from the variables of srun and submitit, as SLURM 22.05 and submitit 1.5 set them."""

import os
import signal
import subprocess
import sys

import pytest
from command import TINY, environment
from conftest import cases

from harness.launch.backends.rank_env import (
    FIRST_PORT,
    PORTS,
    export_torchrun_env,
    first_host,
    launcher_name,
    port,
    tasks_by_node,
)
from harness.system.signals import Stopped

# The fourth of 5 tasks on the nodes n07, n08 and n09, two on each but the last.
STEP = {
    "SLURM_JOB_ID": "1007", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_NODELIST": "n[07-09]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_NODEID": "1", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
}  # fmt: skip
SUBMITIT = {
    "SUBMITIT_LOCAL_JOB_ID": "23",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
}


def adopted(environ: dict[str, str]) -> dict[str, str]:
    """Returns what export_torchrun_env() adds to or changes in these variables."""
    after = dict(environ)
    export_torchrun_env(after)
    return {key: value for key, value in after.items() if environ.get(key) != value}


def test_a_task_of_srun_becomes_a_rank() -> None:
    assert adopted(STEP) == {
        "RANK": "3", "WORLD_SIZE": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "n07", "MASTER_PORT": "21007",
    }  # fmt: skip


def test_a_task_of_submitits_local_executor_becomes_a_rank() -> None:
    assert adopted(SUBMITIT) == {
        "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "20023",
    }  # fmt: skip


def test_the_last_node_may_have_fewer_tasks() -> None:
    assert adopted({**STEP, "SLURM_NODEID": "2"})["LOCAL_WORLD_SIZE"] == "1"


@cases(
    "alone",
    {},
    # A batch script, though it is of a job of several tasks.
    {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "5", "SLURM_NNODES": "3"},
    {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
    {**SUBMITIT, "SUBMITIT_LOCAL_NTASKS": "1"},
    ids=["nothing", "batch script", "step of one task", "submitit job of one task"],
)
def test_one_process_stays_alone(alone) -> None:
    assert adopted(alone) == {}
    assert launcher_name(alone) == ""


def test_a_second_call_and_a_rank_of_torchrun_change_nothing() -> None:
    once = {**STEP, **adopted(STEP)}
    assert adopted(once) == {}
    assert adopted({**STEP, "RANK": "0", "WORLD_SIZE": "1"}) == {}


def test_the_users_own_address_and_port_stay() -> None:
    found = adopted({**STEP, "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"})
    assert "MASTER_ADDR" not in found and "MASTER_PORT" not in found
    assert adopted({**STEP, "MASTER_ADDR": "10.0.0.7"})["MASTER_PORT"] == "21007"
    assert adopted({**STEP, "MASTER_ADDR": ""})["MASTER_ADDR"] == "n07"


def test_a_requeued_job_and_a_second_step_have_ports_of_their_own() -> None:
    assert adopted({**STEP, "SLURM_RESTART_COUNT": "0"})["MASTER_PORT"] == "21007"
    assert adopted({**STEP, "SLURM_RESTART_COUNT": "1"})["MASTER_PORT"] == "28926"
    assert adopted({**STEP, "SLURM_STEP_ID": "1"})["MASTER_PORT"] == "22016"


def test_ports_of_neighbouring_jobs_and_restarts_differ_and_stay_in_their_range() -> None:
    jobs = {port(job) for job in range(1_000_000, 1_000_000 + PORTS)}
    assert jobs == set(range(FIRST_PORT, 32768))
    near = [port(1000, step, restart) for step in range(4) for restart in range(50)]
    assert len(set(near)) == 200


@cases(
    "visible, on_node, local",
    ("1", "2", "0"),  # --gpus-per-task=1: counted anew in every task
    ("2,3", "4", "0"),
    ("0,1", "2", "1"),  # all tasks see all
    ("0", "1", "1"),  # shared by two tasks, which is refused later, by name
    ("", "2", "1"),
    ("0", None, "1"),
)
def test_a_task_with_a_gpu_of_its_own_takes_the_first_that_it_sees(visible, on_node, local) -> None:
    gpus = {"CUDA_VISIBLE_DEVICES": visible}
    if on_node:
        gpus["SLURM_GPUS_ON_NODE"] = on_node
    assert adopted({**STEP, **gpus})["LOCAL_RANK"] == local


@cases(
    "nodes, first",
    ("n1", "n1"), ("a[1-3,5],b", "a1"), ("b,a[1-3]", "b"),
    ("gpu-[003,007-009].cluster", "gpu-003.cluster"), ("rack[2-3]n[10-12]", "rack2n10"),
    ("127.0.0.[1-2]", "127.0.0.1"),
)  # fmt: skip
def test_first_host_of_a_list(nodes, first) -> None:
    assert first_host(nodes) == first


@cases("nodes", "", ",b", "a[1-3", "a]", "a[]", "[-3]")
def test_what_is_no_list_of_hosts_is_refused(nodes) -> None:
    with pytest.raises(ValueError, match="SLURM_STEP_NODELIST must be a list of hosts, got"):
        first_host(nodes)


@cases("text", "", "2(x)", "2(x3", "x", "2;1", "-1")
def test_what_is_no_count_of_tasks_is_refused(text) -> None:
    with pytest.raises(ValueError, match="SLURM_STEP_TASKS_PER_NODE must be counts as in"):
        list(tasks_by_node(text))


@pytest.mark.parametrize("key", sorted(STEP.keys() - {"SLURM_STEP_ID"}))
def test_a_missing_variable_of_srun_is_named_with_a_way_out(key) -> None:
    for lacking in ({**STEP, key: ""}, {k: v for k, v in STEP.items() if k != key}):
        with pytest.raises(ValueError, match=f"^{key} is missing or empty; start with srun"):
            export_torchrun_env(lacking)


@pytest.mark.parametrize("key", sorted(SUBMITIT.keys() - {"SUBMITIT_LOCAL_NTASKS"}))
def test_a_missing_variable_of_submitit_is_named_with_a_way_out(key) -> None:
    with pytest.raises(ValueError, match=f"^{key} is missing or empty; start with submitit"):
        export_torchrun_env({**SUBMITIT, key: ""})


def test_a_wrong_variable_is_named_with_its_value() -> None:
    with pytest.raises(ValueError, match="SLURM_PROCID must be a whole number >= 0, got 'two'"):
        export_torchrun_env({**STEP, "SLURM_PROCID": "two"})
    with pytest.raises(ValueError, match=r"SLURM_NODEID=3, but .*=2\(x2\),1 is of 3 nodes"):
        export_torchrun_env({**STEP, "SLURM_NODEID": "3"})


def test_nothing_is_set_where_something_is_missing() -> None:
    lacking = {**STEP, "SLURM_LOCALID": ""}
    with pytest.raises(ValueError):
        export_torchrun_env(lacking)
    assert lacking == {**STEP, "SLURM_LOCALID": ""}


def started(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "harness", *TINY, *arguments],
        env={**environment(), **variables}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@cases(
    "variables, name",
    ({**STEP, "SLURM_PROCID": "0"}, "srun"),
    ({**SUBMITIT, "SUBMITIT_LOCAL_GLOBALID": "0"}, "submitit"),
    ({"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}, "torchrun"),
    ({"RANK": "0", "WORLD_SIZE": "2"}, "a launcher that sets RANK"),
)
def test_a_sweep_in_one_of_several_ranks_is_refused(variables, name, tmp_path) -> None:
    refused = started("-m", "seed=0,1", f"output_dir={tmp_path}/runs", **variables)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"harness: -m under {name} would run the sweep once per rank. Start it without {name}: "
        "with hydra/launcher=slurm, or with launch.ranks_per_run=N for several ranks per run\n"
    )
    assert not (tmp_path / "runs").exists()


def test_a_wrong_variable_ends_the_command_with_one_line() -> None:
    refused = started(**{**STEP, "SLURM_NODEID": "x"})
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "harness: SLURM_NODEID must be a whole number >= 0, got 'x'; start with srun, which sets "
        "it, or set RANK and WORLD_SIZE yourself\n"
    )


def test_place_needs_no_torch_and_no_hydra() -> None:
    code = (
        "import sys, harness.launch.backends.rank_env; print({'torch', 'hydra'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@cases("name, status", ("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130))
@cases("rank", 0, 1)
def test_a_stopped_command_leaves_its_status_in_a_file_for_a_job_script(
    tmp_path, name, status, rank
) -> None:
    note = tmp_path / "stopped"
    stop = (
        "import os, sys; from harness.system.signals import exit_on_signals; exit_on_signals();"
        f"os.kill(os.getpid(), {int(signal.Signals[name])})"
    )
    done = subprocess.run(
        [sys.executable, "-c", stop],
        env={**os.environ, "HARNESS_STOPPED": str(note), "RANK": str(rank)},
    )
    assert done.returncode == status
    assert note.exists() == (rank == 0)
    assert rank or note.read_text() == f"{status}\n"


def test_a_note_that_cannot_be_written_does_not_hold_up_the_end(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HARNESS_STOPPED", str(tmp_path / "no" / "folder"))
    Stopped(signal.SIGTERM).write_status()
    assert capfd.readouterr().err.startswith("harness: cannot write HARNESS_STOPPED: [Errno 2]")


def test_importing_the_harness_imports_no_compiler() -> None:
    """Saves every command the wait for torch._dynamo, which takes seconds."""
    code = "import sys, harness.launch.execute; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
