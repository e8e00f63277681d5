"""Kills, stops and restarts processes, on one rank and several: the records stay the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import environment, harness, only_run, python, records_of
from conftest import HELPERS, cases
from cutting import RUN
from forked_ranks import forked, harness_on_ranks
from signalled_program import at_work

from harness.run_folder.outcome import COMPACT
from harness.system.signals import SIGNALS, finish_on_signals

PROGRAM = HELPERS / "signalled_program.py"
SAVED = {"SIGINT": 130, "SIGTERM": 75, "SIGUSR1": 75}


def signalled(
    plan: str, *arguments: str, ranks: int = 1, restarts: int = 0
) -> "subprocess.CompletedProcess[str]":
    """Starts RUN so that one rank gets a signal at one step."""
    if ranks == 1:
        return python(PROGRAM, plan, "--", *RUN, *arguments)
    torchrun = [
        "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
        f"--max-restarts={restarts}",
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, *torchrun, str(PROGRAM), plan, "--", *RUN] + list(arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )


def on(ranks: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Starts RUN undisturbed, without torchrun."""
    return harness_on_ranks(ranks, *RUN, *arguments)


def statuses(plan: str, *arguments: str, ranks: int) -> list[int]:
    """Returns the exit statuses of RUN without torchrun, in which one rank gets a signal."""
    with forked(ranks, at_work, plan, *RUN, *arguments, group=ranks > 1) as started:
        deadline = time.monotonic() + 120
        return [rank.ends(deadline) for rank in started]


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory) -> dict[int, bytes]:
    """Returns the records of a run that nothing interrupted, per number of ranks."""
    found = {}
    for ranks in (1, 2, 4):
        runs = tmp_path_factory.mktemp(f"whole-{ranks}")
        done = on(ranks, f"output_dir={runs}")
        assert done.returncode == 0, done.stderr
        found[ranks] = (only_run(runs) / "records.jsonl").read_bytes()
    return found


@pytest.mark.parametrize(
    ("ranks", "victim", "step"), [(1, 0, 6), (1, 0, 19), (2, 0, 15), (2, 1, 6), (4, 3, 19)]
)
def test_after_sigkill_the_records_are_those_of_a_run_that_nothing_interrupted(
    tmp_path, whole, ranks, victim, step
) -> None:
    killed = statuses(f"{victim}:{step}:SIGKILL", f"output_dir={tmp_path}", ranks=ranks)
    assert killed == [-signal.SIGKILL if rank == victim else 1 for rank in range(ranks)]

    done = on(ranks, f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert (folder / "records.jsonl").read_bytes() == whole[ranks]
    event = "resumed" if step > 8 else "restarted"
    assert f'"event": "{event}"' in (folder / "timings.jsonl").read_text()


NARROW = (
    "structure=neuron", "allocation=uniform", "allocation.min_units=1", "schedule.final=0.3",
    "compact=levels",
)  # fmt: skip


@cases("ranks, step", (1, 19), (2, 14))
def test_after_sigkill_a_smaller_network_goes_on_to_the_same_bytes(tmp_path, ranks, step) -> None:
    victim, folders = ranks - 1, [tmp_path / name for name in ("killed", "whole")]
    killed = statuses(f"{victim}:{step}:SIGKILL", *NARROW, f"output_dir={folders[0]}", ranks=ranks)
    assert killed[victim] == -signal.SIGKILL
    for folder in folders:
        done = on(ranks, *NARROW, f"output_dir={folder}")
        assert done.returncode == 0, done.stderr
    one, other = map(only_run, folders)
    for file in ("records.jsonl", "masks.safetensors", "model.safetensors", *COMPACT):
        assert (one / file).read_bytes() == (other / file).read_bytes()
    assert '"event": "resumed"' in (one / "timings.jsonl").read_text()


@pytest.mark.parametrize("name", list(SAVED))
def test_a_signal_saves_and_leaves_with_its_status(tmp_path, whole, name) -> None:
    stopped = signalled(f"0:14:{name}", f"output_dir={tmp_path}")

    assert stopped.returncode == SAVED[name]
    assert stopped.stderr.splitlines()[-1] == (
        f"harness: {name}; the same command resumes where it stopped"
    )
    folder = only_run(tmp_path)
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    # At the step at which it came: nothing is lost.
    assert [f.name[7:] for f in sorted((folder / "checkpoints").glob("*.step"))][-1] == (
        "level-01-epoch-00001-step-000002.step"
    )
    assert harness(*RUN, f"output_dir={tmp_path}").returncode == 0
    assert (folder / "records.jsonl").read_bytes() == whole[1]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_signal_to_one_rank_stops_all_at_one_step(tmp_path, whole, victim) -> None:
    assert statuses(f"{victim}:11:SIGUSR1", f"output_dir={tmp_path}", ranks=2) == [75, 75]

    assert on(2, f"output_dir={tmp_path}").returncode == 0
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole[2]


def test_torchrun_that_sees_one_rank_stop_leaves_the_others_time_to_save(tmp_path, whole) -> None:
    stopped = signalled("1:11:SIGUSR1", f"output_dir={tmp_path}", ranks=2)

    assert stopped.returncode == 1  # torchrun's, whatever its workers return
    assert stopped.stderr.count("exitcode  : 75") == 2
    assert on(2, f"output_dir={tmp_path}").returncode == 0
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole[2]


def test_ctrl_c_of_torchrun_saves_and_the_same_command_goes_on(tmp_path, whole) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "harness", *RUN, f"output_dir={tmp_path}"]
    with subprocess.Popen(
        command, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as job:
        try:
            _wait_for(tmp_path, "*.st*")
            os.killpg(job.pid, signal.SIGINT)
            _, errors = job.communicate(timeout=60)
        finally:
            if job.poll() is None:
                os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode != 0
    assert "Traceback" not in errors.split("torch/distributed")[0], errors

    assert on(2, f"output_dir={tmp_path}").returncode == 0
    assert (only_run(tmp_path) / "records.jsonl").read_bytes() == whole[2]


def test_torchrun_replaces_a_killed_worker_and_the_run_goes_on(tmp_path, whole) -> None:
    done = signalled("1:14:SIGKILL", f"output_dir={tmp_path}", ranks=2, restarts=1)

    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    assert (folder / "records.jsonl").read_bytes() == whole[2]
    assert (folder / "timings.jsonl").read_text().count('"event": "resumed"') == 1


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_ranks_goes_on_between_levels_and_is_noted(
    tmp_path, whole, before, after
) -> None:
    # In the second epoch of level 2's retraining.
    assert statuses("0:22:SIGKILL", f"output_dir={tmp_path}", ranks=before)[0] == -signal.SIGKILL

    done = on(after, f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert f"inside a training on other numerics (world_size {before} -> {after})" in done.stderr
    folder = only_run(tmp_path)
    lines = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    assert [(t.get("event"), t["world_size"]) for t in lines] == [
        *[(None, before)] * 4, ("resumed", after), (None, after),
    ]  # fmt: skip
    records, others = records_of(folder), whole[before].decode().splitlines()
    assert (folder / "records.jsonl").read_text().splitlines()[:4] == others[:4]
    assert records[-1].masks == json.loads(others[-1])["masks"]


def _wait_for(runs: Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list(runs.rglob(f"checkpoints/{pattern}")):
        assert time.monotonic() < deadline, "no checkpoint in a minute"
        time.sleep(0.02)


@cases(
    "module, name",
    *(("hydra", name) for name in SAVED),
    ("harness.cli.hydra_main", "SIGINT"),
    ("torch.nn.functional", "SIGTERM"),
)
def test_a_signal_in_the_middle_of_the_imports_has_its_status_too(module, name) -> None:
    done = subprocess.run(
        [sys.executable, "tests/helpers/signalled_import.py", module, name, *RUN],
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == SAVED[name]
    assert done.stderr.splitlines() == [
        f"harness: {name}; the same command resumes where it stopped"
    ]


def test_synced_norms_sparse_exchange_and_parts_of_batches_go_on_too(tmp_path) -> None:
    more = (
        "sync_batch_norm=true", "ranks.gradient_exchange=sparse", "gradient_dtype=bfloat16",
        "checkpoint.every_steps=2",
    )  # fmt: skip
    assert on(4, *more, f"output_dir={tmp_path}/whole").returncode == 0
    assert statuses("2:18:SIGKILL", *more, f"output_dir={tmp_path}/cut", ranks=4) == [1, 1, -9, 1]
    done = on(4, *more, f"output_dir={tmp_path}/cut")

    assert done.returncode == 0, done.stderr
    whole, cut = (only_run(tmp_path / name) / "records.jsonl" for name in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()
    assert {record.batch_norm for record in records_of(cut.parent)} == {"all_ranks"}


def test_a_command_whose_work_is_done_keeps_ignoring_what_a_stopped_rank_ignores() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        finish_on_signals()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGINT))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
