"""Tests runs on two nodes of a real SLURM cluster.

They are started, warned, preempted, killed and started again.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import only_run
from conftest import ROOT
from forked_ranks import harness_on_ranks
from kinds_of_data import write_all
from slowed import SLOW
from slurm_cluster import Slurm, wait_until
from slurm_sweeps import HARNESS, RUN

SCRIPT = ROOT / "slurm" / "train.sbatch"
# A run that retrains a model cut to its kept neurons, measures its speed and writes its files.
CUT = (
    "structure=neuron", "allocation=uniform", "allocation.min_units=1", "compact=levels",
    "latency.batch_sizes=[2]", "latency.repeats=3", "export=[torch_export]",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """Represents one job of RUN on one node or two.

    `id` is SLURM's, and `folder` holds what the job writes.
    """

    slurm: Slurm
    folder: Path
    id: str

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def run(self) -> Path:
        return only_run(self.folder / "runs")

    @property
    def timings(self) -> list[dict[str, Any]]:
        lines = (self.run / "timings.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def events(self) -> list[str]:
        """Returns what the run records of its starts after the first."""
        return [event for line in self.timings if (event := line.get("event"))]

    @property
    def records(self) -> bytes:
        return (self.run / "records.jsonl").read_bytes()

    @contextmanager
    def in_its_middle(self) -> Iterator[None]:
        """Waits for a checkpoint of training, which is slow inside the block."""
        saved = "single/*/*/checkpoints/*-level-01-epoch-*"
        wait_until(lambda: any((self.folder / "runs").glob(saved)), saved, seen=lambda: self.output)
        try:
            yield
        finally:
            (self.folder / "slow").unlink()

    def signal(self, name: str) -> None:
        done = self.slurm.call("scancel", f"--signal={name}", self.id)
        assert done.returncode == 0, done.stderr

    def has_left(self) -> None:
        """Waits until the job runs no more; another start may be to come."""
        wait_until(lambda: self.slurm.show(self.id)["JobState"] != "RUNNING", "the job to leave")

    def ends(self) -> str:
        return self.slurm.wait(self.id)["JobState"]


def submitted(
    slurm: Slurm,
    folder: Path,
    *options: str,
    nodes: int = 2,
    slow: bool = False,
    overrides: Sequence[str] = (),
    **variables: str,
) -> Job:
    folder.mkdir(exist_ok=True)
    if slow:
        (folder / "slow").touch()
    variables |= {SLOW: str(folder / "slow"), "HARNESS_PYTHON": sys.executable}
    arguments = (
        f"--nodes={nodes}", "--cpus-per-task=1", f"--output={folder}/output", f"--chdir={ROOT}",
        *options, SCRIPT, *RUN, *overrides,
        f"output_dir={folder}/runs",
    )  # fmt: skip
    return Job(slurm, folder, slurm.submit(*arguments, **variables))


@pytest.fixture(scope="module", name="undisturbed")
def fixture_undisturbed(tmp_path_factory) -> dict[int, bytes]:
    """Returns the records of one and two ranks on this machine, without SLURM."""
    return {ranks: records_of(tmp_path_factory.mktemp("undisturbed"), ranks) for ranks in (1, 2)}


def records_of(runs: Path, ranks: int, *overrides: str) -> bytes:
    done = harness_on_ranks(ranks, *RUN, *overrides, f"output_dir={runs}")
    assert done.returncode == 0, done.stderr
    return (only_run(runs) / "records.jsonl").read_bytes()


def test_ranks_that_srun_starts_without_torchrun_are_one_run(slurm, tmp_path, undisturbed) -> None:
    done = slurm.call("srun", "-N2", "-n2", *HARNESS, *RUN, f"output_dir={tmp_path}/runs")

    assert done.returncode == 0, done.stderr
    assert (only_run(tmp_path / "runs") / "records.jsonl").read_bytes() == undisturbed[2]
    assert done.stdout.count("finished: ") == 1
    assert done.stderr.count(" finetuned ") <= 1


def test_a_warned_job_saves_is_requeued_and_makes_the_records_of_two_local_ranks(
    slurm, tmp_path, undisturbed
) -> None:
    job = submitted(slurm, tmp_path, slow=True)
    with job.in_its_middle():
        job.signal("USR1")  # as --signal=USR1@120 does when the time is nearly up
        job.has_left()

    assert job.ends() == "COMPLETED", job.output
    assert slurm.show(job.id)["Restarts"] == "1"
    assert "train.sbatch: stopped; requeued for restart 1 of at most 20" in job.output
    assert job.output.count("finished: ") == 1
    assert job.events == ["resumed"]
    assert job.records == undisturbed[2]
    environment = json.loads((job.run / "environment.json").read_text())
    assert environment["numerics_key"]["world_size"] == 2


def test_a_preempted_job_saves_makes_room_and_goes_on_afterwards(slurm, tmp_path, undisturbed):
    low = submitted(slurm, tmp_path, "--partition=low", slow=True)
    with low.in_its_middle():
        high = slurm.submit("--partition=high", "--nodes=2", "--exclusive", "--wrap=true")
        assert slurm.wait(high)["JobState"] == "COMPLETED"
        assert slurm.show(low.id)["Restarts"] == "1"

    assert low.ends() == "COMPLETED", low.output
    assert "harness: SIGTERM; the same command resumes where it stopped" in low.output
    assert low.events == ["resumed"]
    assert low.records == undisturbed[2]


def test_a_job_that_is_preempted_without_grace_goes_on_afterwards(slurm, tmp_path, undisturbed):
    scavenger = submitted(slurm, tmp_path, "--partition=scavenge", nodes=1, slow=True)
    with scavenger.in_its_middle():
        high = slurm.submit("--partition=high", "--nodes=2", "--exclusive", "--wrap=true")
        assert slurm.wait(high)["JobState"] == "COMPLETED"

    assert scavenger.ends() == "COMPLETED", scavenger.output
    assert slurm.show(scavenger.id)["Restarts"] == "1"
    # Ended with its batch script by SLURM, which requeues it then.
    assert "DUE TO PREEMPTION" in scavenger.output and "train.sbatch" not in scavenger.output
    assert scavenger.events == ["resumed"]
    assert scavenger.records == undisturbed[1]


def test_a_killed_job_that_is_submitted_again_goes_on_with_its_smaller_model(
    slurm, tmp_path
) -> None:
    killed = submitted(slurm, tmp_path, slow=True, overrides=CUT)
    with killed.in_its_middle():
        for process in slurm.processes(killed.id):
            os.kill(process, signal.SIGKILL)
        assert killed.ends() == "FAILED"
    assert json.loads((killed.run / "status.json").read_text())["state"] == "running"

    again = submitted(slurm, tmp_path, overrides=CUT)
    assert again.ends() == "COMPLETED", again.output
    assert [event for event in again.events if event != "latency"] == ["resumed"]
    measured = [(e["level"], e["stage"]) for e in again.timings if e.get("event") == "latency"]
    assert measured == [(0, "dense"), (1, "finetuned")]
    assert again.records == records_of(tmp_path / "undisturbed", 2, *CUT)
    assert {"compact", "export"} <= {file.name for file in again.run.iterdir()}


def test_killed_jobs_on_data_of_every_kind_go_on_to_the_same_records(slurm, tmp_path) -> None:
    kinds = write_all(tmp_path / "data")
    options: Any = {"slurm": slurm, "nodes": 1}
    killed = {
        kind: submitted(folder=tmp_path / kind, slow=True, overrides=words, **options)
        for kind, words in kinds.items()
    }
    for job in killed.values():
        with job.in_its_middle():
            for process in slurm.processes(job.id):
                os.kill(process, signal.SIGKILL)
            assert job.ends() == "FAILED", job.output

    again = {
        kind: submitted(folder=tmp_path / kind, overrides=words, **options)
        for kind, words in kinds.items()
    }
    for kind, job in again.items():
        assert job.ends() == "COMPLETED", job.output
        assert job.events == ["resumed"], kind
        assert job.records == records_of(tmp_path / "undisturbed" / kind, 1, *kinds[kind]), kind


def test_a_cancelled_job_stays_cancelled(slurm, tmp_path) -> None:
    job = submitted(slurm, tmp_path, nodes=1, slow=True)
    with job.in_its_middle():
        assert slurm.call("scancel", job.id).returncode == 0
        assert job.ends() == "CANCELLED", job.output
    assert slurm.show(job.id)["Restarts"] == "0"


def test_a_signal_to_srun_s_own_tasks_alone_stops_all_and_without_restarts_ends_with_75(
    slurm, tmp_path
) -> None:
    job = submitted(slurm, tmp_path, slow=True, HARNESS_RESTARTS="0")
    with job.in_its_middle():
        # All that SLURM signals where it tracks processes by cgroups.
        agents = slurm.processes(job.id, "-m\0torch.distributed.run")
        assert len(agents) == 2
        for agent in agents:
            os.kill(agent, signal.SIGUSR1)
        assert job.ends() == "FAILED"
    assert slurm.show(job.id)["ExitCode"] == "75:0"
    assert "restarted 0 times already (HARNESS_RESTARTS=0)" in job.output
    assert json.loads((job.run / "status.json").read_text())["state"] == "interrupted"


def test_more_gpus_than_a_node_has_are_refused_at_submission(slurm) -> None:
    refused = slurm.call("sbatch", "--gpus-per-node=3", SCRIPT)
    assert refused.returncode == 1
    assert "Requested node configuration is not available" in refused.stderr


def test_a_task_with_a_gpu_of_its_own_takes_the_first_that_it_sees(slurm) -> None:
    code = (
        "import os; from harness.launch.backends import rank_env; rank_env.export_torchrun_env();"
        "print(os.environ['RANK'], os.environ['LOCAL_RANK'], os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    options = ("-N1", "-n2", "--gpus-per-task=1")
    own = slurm.call("srun", *options, sys.executable, "-c", code)
    assert sorted(own.stdout.splitlines()) == ["0 0 0", "1 0 1"], own.stderr
    shared = slurm.call("srun", "-N1", "-n2", "--gpus-per-node=2", sys.executable, "-c", code)
    assert sorted(shared.stdout.splitlines()) == ["0 0 0,1", "1 1 0,1"], shared.stderr
