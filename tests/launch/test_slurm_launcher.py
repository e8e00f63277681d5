"""hydra/launcher=slurm on two nodes of a real cluster: warned, preempted, killed, cancelled."""

import os
import signal
from pathlib import Path

import pytest
from slurm_cluster import wait_until
from slurm_sweeps import NAME, Sweep, ended, resumed, undisturbed
from wandb_log import logs

WAITED_FOR = "sweep: waiting for 1 jobs of an earlier start\n"
NODES = "hydra.launcher.nodes=2"
# Without a dense phase, which would be a job of its own.
INIT = "prune_at=init"
BOTH = "saliency=magnitude,random"


@pytest.fixture(scope="module", name="alone")
def fixture_alone(tmp_path_factory) -> dict[str, bytes]:
    """Returns the records of both runs in one process each, by run."""
    points = [(INIT, "saliency=magnitude"), (INIT, "saliency=random")]
    return undisturbed(tmp_path_factory.mktemp("alone"), *points)


@pytest.fixture(scope="module", name="after_dense")
def fixture_after_dense(tmp_path_factory) -> dict[str, bytes]:
    """Returns the records of one run after dense training, on two local ranks."""
    return undisturbed(tmp_path_factory.mktemp("dense"), ["method=random"], ranks=2)


@pytest.fixture(name="sweep")
def fixture_sweep(slurm, tmp_path) -> Sweep:
    return Sweep(slurm, tmp_path)


def test_a_sweep_of_jobs_on_two_nodes_trains_dense_once_and_lists_what_fails(sweep, after_dense):
    status, out, err = ended(sweep.go_on(NODES, "method=random", "schedule.final=0.05,1e-9"))

    assert status == 1, err
    assert "sweep: 2 runs: 1 finished, 0 skipped, 1 failed" in out
    # One job for what all points share, then one for each of them.
    assert len(sweep.arrays) == 2 and out.count(": dense training of ") == 1
    assert len(list(sweep.folder.glob(".cache/dense/*/*/*.safetensors"))) == 1
    reason = "the requested density cannot be reached"
    (listed,) = [line for line in out.splitlines() if line.startswith("  failed:")]
    assert reason in listed
    assert reason in Path(listed.rpartition("(see ")[2].removesuffix(")")).read_text()
    assert sweep.records == after_dense


def test_a_warned_job_of_an_array_is_requeued_alone_and_goes_on_in_its_folder_and_wandb_run(
    sweep, alone
) -> None:
    parent = sweep.start(BOTH, INIT, "tracking=wandb")
    with sweep.in_its_middle(2):
        # The last task has the array's id as its own.
        last = f"{sweep.arrays[-1]}_1"
        assert sweep.slurm.call("scancel", "--signal=USR1", last).returncode == 0
        wait_until(lambda: sweep.slurm.show(last)["JobState"] != "RUNNING", "the job to leave")
    status, out, err = ended(parent)

    assert status == 0, err
    assert "sweep: 2 runs: 2 finished, 0 skipped, 0 failed" in out
    again = [sweep.slurm.show(f"{sweep.arrays[-1]}_{task}")["Restarts"] for task in (0, 1)]
    assert again == ["0", "1"]
    assert sorted(map(resumed, sweep.runs)) == [0, 1]
    assert sweep.records == alone
    (one,) = [run for run in sweep.runs if resumed(run)]
    ids = [log.id for log in logs(one)]
    assert len(ids) == 2 and len(set(ids)) == 1


def test_a_preempted_job_saves_makes_room_and_goes_on_afterwards(sweep, tmp_path) -> None:
    point = ("saliency=random", INIT)
    parent = sweep.start(*point, NODES, "hydra.launcher.partition=low")
    with sweep.in_its_middle(1):
        high = sweep.slurm.submit("--partition=high", "--nodes=2", "--exclusive", "--wrap=true")
        assert sweep.slurm.wait(high)["JobState"] == "COMPLETED"
    status, _, err = ended(parent)

    assert status == 0, err
    assert sweep.slurm.show(sweep.arrays[-1])["Restarts"] == "1"
    (log,) = (sweep.folder / NAME / ".sweep" / "jobs").glob(f"{sweep.arrays[-1]}/*/*_0_log.err")
    assert "harness: SIGTERM; the same command resumes" in log.read_text()
    assert [resumed(run) for run in sweep.runs] == [1]
    assert sweep.records == undisturbed(tmp_path / "here", point, ranks=2)


def test_a_killed_job_is_tried_again_and_a_cancelled_one_is_not(sweep) -> None:
    parent = sweep.start(INIT, "seed=0,1,2", "launch.retries=1")
    with sweep.in_its_middle(3):
        killed, cancelled, _ = map(sweep.job_of, map(str, sweep.runs))
        for process in sweep.slurm.processes(sweep.slurm.show(killed)["JobId"]):
            os.kill(process, signal.SIGKILL)
        assert sweep.slurm.call("scancel", cancelled).returncode == 0
        assert sweep.slurm.wait(cancelled)["Restarts"] == "0"
    status, out, _ = ended(parent)

    assert status == 1
    assert f"job {killed} ended without a result (JobState=FAILED ExitCode=" in out
    assert "sweep: 3 runs: 2 finished, 0 skipped, 1 failed" in out
    (listed,) = [line for line in out.splitlines() if line.startswith("  failed:")]
    assert f"job {cancelled} ended without a result (JobState=CANCELLED ExitCode=" in listed
    assert "(see " in listed
    assert [resumed(run) for run in sweep.runs] == [1, 0, 0]


def test_after_ctrl_c_jobs_have_saved_themselves_and_the_same_command_goes_on(sweep, alone):
    parent = sweep.start(BOTH, INIT)
    with sweep.in_its_middle(2):
        parent.send_signal(signal.SIGINT)
        status, out, err = ended(parent)
        assert not sweep.slurm.call("squeue", "--noheader", "--name=run").stdout
    assert status == 130
    assert "sweep: 2 jobs are cancelled; active ones save a checkpoint" in out
    assert "harness: SIGINT; the same command resumes where it stopped" in err

    status, out, err = ended(sweep.go_on(BOTH, INIT))
    assert status == 0, err
    assert [resumed(run) for run in sweep.runs] == [1, 1]
    assert sweep.records == alone


def test_jobs_of_a_parent_that_was_killed_are_waited_for_and_not_submitted_again(
    sweep, after_dense
) -> None:
    # One, to leave room for the job of the dense phase.
    point = ("method=random", NODES)
    lost = sweep.start(*point)
    with sweep.in_its_middle(1):
        lost.kill()
        lost.communicate()
        arrays = sweep.arrays
        parent = sweep.go_on(*point)
        assert parent.stdout
        said = list(iter(parent.stdout.readline, WAITED_FOR))
    status, out, err = ended(parent)

    assert status == 0, err
    assert sum(": dense training of " in line for line in said) == 1
    assert "sweep: 1 runs: 1 finished, 0 skipped, 0 failed" in out
    assert len(sweep.arrays) == len(arrays) + 1  # of the dense phase, which finds what there is
    (run,) = sweep.runs
    assert resumed(run) == 0
    assert sweep.records == after_dense
