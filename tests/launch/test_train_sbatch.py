"""Tests what slurm/train.sbatch would run and how it ends, with stand-ins for SLURM's commands."""

import pytest
from conftest import cases
from sbatch_stand_ins import StandIns

from harness.launch.backends.rank_env import port

WHAT_RUNS = """\
srun
--nodes=2
--ntasks=2
--ntasks-per-node=1
--cpu-bind=none
--kill-on-bad-exit=0
--wait=100
bash
-c
exec $HARNESS_PYTHON -m torch.distributed.run --node-rank="$SLURM_NODEID" "$@"
agent
--nnodes=2
--nproc-per-node=1
--master-addr=n7
--master-port=21007
-m
harness
seed=1
tracking.notes=two words
python: python
threads: 1
signals: SIGTERM,SIGINT,SIGUSR1
seconds to save: 100
setup: \n"""


@pytest.fixture(name="job")
def fixture_job(tmp_path) -> StandIns:
    return StandIns(tmp_path, "train.sbatch")


def test_what_is_run(job) -> None:
    done = job.run(["seed=1", "tracking.notes=two words"])
    assert (done.returncode, done.stdout, done.stderr) == (0, WHAT_RUNS, "")


def test_an_agent_is_not_held_to_the_share_of_a_task(job) -> None:
    assert job.run(SRUN_CPUS_PER_TASK="1", SLURM_TRES_PER_TASK="gres:gpu:1").returncode == 0
    seen = (job.folder / "env").read_text()
    assert "SLURM_JOB_ID" in seen and "_PER_TASK" not in seen


@cases(
    "variables, processes",
    ({}, 1),
    ({"SLURM_TASKS_PER_NODE": "4(x2)"}, 4),
    ({"SLURM_TASKS_PER_NODE": "4", "SLURM_NNODES": "1"}, 4),
    ({"SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "8"}, 8),
    ({"SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "0"}, 4),
    ({"SLURM_GPUS_ON_NODE": "8", "HARNESS_NPROC": "2"}, 2),
)
def test_a_process_per_gpu_or_task_unless_the_user_says(job, variables, processes) -> None:
    assert f"\n--nproc-per-node={processes}\n" in job.run(**variables).stdout


@cases("restarts", 0, 1, 7)
def test_the_port_is_that_of_ranks_which_srun_starts(job, restarts) -> None:
    done = job.run(SLURM_JOB_ID="123456", SLURM_RESTART_COUNT=str(restarts))
    assert f"\n--master-port={port(123456, 0, restarts)}\n" in done.stdout


def test_the_users_address_and_port_python_and_threads_win(job) -> None:
    done = job.run(
        MASTER_ADDR="10.0.0.7", MASTER_PORT="29500", OMP_NUM_THREADS="4",
        HARNESS_PYTHON="apptainer exec --nv harness.sif python",
        TORCH_ELASTIC_SHUTDOWN_TIMEOUT="300",
    )  # fmt: skip
    for line in (
        "--master-addr=10.0.0.7", "--master-port=29500", "threads: 4",
        "python: apptainer exec --nv harness.sif python", "seconds to save: 300",
    ):  # fmt: skip
        assert f"\n{line}\n" in done.stdout


def test_the_setup_file_is_read_first_and_may_use_unset_variables(job) -> None:
    setup = job.folder / "setup.sh"
    setup.write_text("false\nexport SETUP=$NOWHERE-done HARNESS_PYTHON=/venv/bin/python\n")
    done = job.run(HARNESS_SETUP=str(setup))
    assert done.returncode == 0
    assert "\nsetup: -done\n" in done.stdout and "\npython: /venv/bin/python\n" in done.stdout


@cases(
    "variables, line",
    ({"HARNESS_SETUP": "no.sh"}, "train.sbatch: HARNESS_SETUP=no.sh: there is no such file"),
    ({"SLURM_TASKS_PER_NODE": "2,1"}, "train.sbatch: the nodes have 2,1 tasks; ask for"),
)
def test_wrong_input_is_refused_in_one_line(job, variables, line) -> None:
    done = job.run(**variables)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1


def test_elsewhere_than_in_the_checkout_it_says_where_to_go(job) -> None:
    done = job.run(cwd=job.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"train.sbatch: no slurm/job.sh in {job.folder}; submit from the folder that has slurm/, "
        "or with --chdir\n"
    )


def test_without_slurm_it_says_how_to_start_it(job) -> None:
    done = job.run(SLURM_JOB_ID="")
    assert done.returncode != 0
    assert done.stderr.endswith("is set by SLURM only; start with sbatch slurm/train.sbatch\n")


@cases("status", "1", "2", "137")
def test_a_failed_run_keeps_its_status_and_is_not_requeued(job, status) -> None:
    done = job.run(STATUS=status)
    assert done.returncode == int(status)
    assert "requeue" not in done.stdout + done.stderr


def requeued(output: str) -> bool:
    return "scontrol requeue 1007\n" in output


@pytest.mark.parametrize(
    "ended",
    [{"STATUS": "1", "NOTE": "75"}, {"STATUS": "138"}, {"STATUS": "143"}],
    ids=["ranks saved", "SIGUSR1 during imports", "SIGTERM during imports"],
)
def test_a_stopped_run_is_requeued(job, ended) -> None:
    done = job.run(**ended, SLURM_RESTART_COUNT="3")
    assert done.returncode == 75
    assert requeued(done.stdout)
    assert done.stderr == "train.sbatch: stopped; requeued for restart 4 of at most 20\n"


def test_ctrl_c_is_not_requeued(job) -> None:
    done = job.run(STATUS="1", NOTE="130")
    assert done.returncode == 130 and not requeued(done.stdout)


@cases(
    "variables, line",
    ({"SLURM_RESTART_COUNT": "20"}, "restarted 20 times already (HARNESS_RESTARTS=20); "),
    ({"HARNESS_RESTARTS": "0"}, "restarted 0 times already (HARNESS_RESTARTS=0); "),
    ({"STATE": "CANCELLED"}, "cancelled or out of time; "),
    ({"REFUSED": "1"}, "SLURM does not requeue it; "),
)
def test_a_stopped_run_that_is_not_requeued_says_why(job, variables, line) -> None:
    done = job.run(STATUS="1", NOTE="75", **variables)
    assert done.returncode == 75
    assert requeued(done.stdout) == ("REFUSED" in variables)
    assert line + "submit the same command again to resume\n" in done.stderr


def test_the_note_is_gone_afterwards(job) -> None:
    job.run(STATUS="1", NOTE="75")
    assert "HARNESS_STOPPED=" in (job.folder / "env").read_text()
    assert list((job.folder / "tmp").iterdir()) == []
