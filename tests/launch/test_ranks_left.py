"""A run that failed waits for no rank that cannot leave; a rank tidies up after its starter."""

import os
import signal
import subprocess
import time
from pathlib import Path

from handlers import as_before

from harness.cli import worker
from harness.launch.backends.local_ranks import RankProcesses
from harness.launch.backends.rank_results import write_result


def process(command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE)


def test_a_rank_that_was_stopped_ends_with_the_run_that_failed_for_it(tmp_path) -> None:
    with RankProcesses(tmp_path, 2) as ranks:
        ranks._processes += [process("exit 1"), process("exec sleep 60")]
        os.kill(ranks._processes[1].pid, signal.SIGSTOP)
        began = time.monotonic()

        assert ranks.wait() == [0]
        assert time.monotonic() - began < 5
        assert [status for _, status in ranks.ended()] == [1, -signal.SIGKILL]


def test_a_rank_that_runs_has_time_to_leave(tmp_path) -> None:
    with RankProcesses(tmp_path, 2) as ranks:
        ranks._processes += [process("exit 1"), process("sleep 0.3; exit 3")]

        assert ranks.wait() == [0]
        assert [status for _, status in ranks.ended()] == [1, 3]


def test_the_folder_of_the_ranks_goes_with_the_starter_that_was_killed(
    tmp_path, monkeypatch
) -> None:
    for parents, left in (([7, 7], True), ([7, 1], False)):
        folder = tmp_path / f"ranks{left}"
        folder.mkdir()
        ids = iter(parents)
        monkeypatch.setattr(os, "getppid", lambda ids=ids: next(ids))
        monkeypatch.setattr(worker, "_work", lambda folder: 0)
        with as_before():
            assert worker.main([str(folder)]) == 0
        assert folder.exists() == left


def test_a_rank_writes_no_result_into_a_folder_that_is_gone(tmp_path) -> None:
    def fails() -> None:
        raise ValueError("wrong")

    status = write_result(Path(tmp_path / "gone"), 0, _Spec(), fails)  # type: ignore[arg-type]
    assert (status, list(tmp_path.iterdir())) == (2, [])


class _Spec:
    config: dict[str, object] = {}
