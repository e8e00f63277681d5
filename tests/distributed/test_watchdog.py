"""A rank that dies, hangs or leaves ends the others in time, by name; nothing else does."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from command import environment
from conftest import HELPERS
from forked_ranks import Rank, forked
from watchdog_program import at_work

PROGRAM = str(HELPERS / "watchdog_program.py")
TIMEOUT_S = 4.0
# From the loss to the end: timeout_s, the time to look for a reason, slow machines.
SOON_S = 40.0


class Job:
    """Ranks at work in OUT, whose pids and reasons lie there."""

    def __init__(self, ranks: Sequence[Rank], count: int, out: Path):
        self.ranks, self.count, self.out = ranks, count, out

    def pids(self) -> list[int]:
        """Returns the pids of the ranks once all of them train."""
        files = [self.out / f"pid-{rank}" for rank in range(self.count)]
        wait_for(lambda: all(file.exists() and file.read_text() for file in files), 120)
        return [int(file.read_text()) for file in files]

    def ends(self, *chosen: int) -> list[int]:
        """Returns the exit statuses, of all ranks by default, which must come soon."""
        deadline = time.monotonic() + SOON_S
        return [self.ranks[rank].ends(deadline) for rank in chosen or range(self.count)]

    def output(self) -> str:
        return "".join(rank.output(2) for rank in self.ranks)

    def why(self) -> set[str]:
        """Returns the reasons that the callbacks were given."""
        return {file.read_text() for file in self.out.glob("why-*")}


@contextmanager
def by_hand(count: int, task: str, out: Path, timeout_s: float = TIMEOUT_S) -> Iterator[Job]:
    with forked(count, at_work, task, out, timeout_s) as ranks:
        yield Job(ranks, count, out)


class UnderTorchrun(Job):
    """The same, where torchrun alone is started and ended."""

    def __init__(self, torchrun: subprocess.Popen[str], count: int, out: Path):
        super().__init__([], count, out)
        self.torchrun = torchrun

    def output(self) -> str:
        return (self.out / "stderr").read_text()


@contextmanager
def under_torchrun(count: int, task: str, out: Path) -> Iterator[UnderTorchrun]:
    """Yields the job under torchrun; whatever happens, no process is left."""
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *start, PROGRAM, task, str(out), str(TIMEOUT_S)]
    with (out / "stderr").open("w") as stderr:
        torchrun = subprocess.Popen(command, env=environment(), stderr=stderr, text=True)
    try:
        yield UnderTorchrun(torchrun, count, out)
    finally:
        torchrun.kill()
        torchrun.wait()
        for file in out.glob("pid-*"):
            if file.read_text() and is_ours(int(file.read_text())):
                os.kill(int(file.read_text()), signal.SIGKILL)


def is_ours(pid: int) -> bool:
    """True if a living process of the program has this pid, not one that got the number since."""
    try:
        return PROGRAM.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_rank_is_named_by_four_ranks_that_were_started_by_hand(tmp_path) -> None:
    with by_hand(4, "train", tmp_path) as job:
        pids = job.pids()
        os.kill(pids[1], signal.SIGKILL)

        assert job.ends(0, 2, 3) == [1, 1, 1]
        assert (
            f"rank 1 (host {os.uname().nodename}, pid {pids[1]}) has given no sign" in job.output()
        )
        assert "the same command resumes from the last checkpoint" in job.output()


def test_a_killed_rank_is_named_under_torchrun(tmp_path) -> None:
    with under_torchrun(4, "train", tmp_path) as job:
        pids = job.pids()
        os.kill(pids[1], signal.SIGKILL)

        assert job.torchrun.wait(SOON_S) == 1
        assert f"RankLost: rank 1 (host {os.uname().nodename}, pid {pids[1]}) has" in job.output()
        assert "KeyboardInterrupt" not in job.output()
        wait_for(lambda: not any(is_ours(pid) for pid in pids), SOON_S)


def test_a_killed_rank_0_takes_the_store_with_it_and_is_named(tmp_path) -> None:
    with by_hand(2, "train", tmp_path) as job:
        os.kill(job.pids()[0], signal.SIGKILL)

        assert job.ends(1) == [1]
        assert "rank 0 (host" in job.output()
        assert ", which keeps the store of the ranks at MASTER_ADDR:MASTER_PORT 127" in job.output()


def test_ranks_do_not_outlive_torchrun(tmp_path) -> None:
    with under_torchrun(2, "train", tmp_path) as job:
        pids = job.pids()
        job.torchrun.kill()

        wait_for(lambda: not any(is_ours(pid) for pid in pids), SOON_S)
        assert "harness: torchrun, which keeps the store of the ranks at" in job.output()


def test_a_stopped_rank_is_named_and_ends_when_it_wakes_up(tmp_path) -> None:
    with by_hand(2, "train", tmp_path) as job:
        stopped = job.pids()[1]
        os.kill(stopped, signal.SIGSTOP)

        assert job.ends(0) == [1]
        (why,) = job.why()
        assert why.startswith("rank 1 (host") and "no sign of life for 4 s" in why
        assert job.output().count("harness: ") == 1

        os.kill(stopped, signal.SIGCONT)
        assert job.ends(1) == [1]


def test_a_stopped_rank_0_stops_the_store_and_is_named(tmp_path) -> None:
    with by_hand(2, "train", tmp_path) as job:
        os.kill(job.pids()[0], signal.SIGSTOP)

        assert job.ends(1) == [1]
        assert "rank 0 (host" in job.output() and "127.0.0.1" in job.output()
        assert "does not answer; so rank 1 ends" in job.output()


def test_a_hanging_rank_is_named_and_ended(tmp_path) -> None:
    with by_hand(2, "hang_on_rank_1", tmp_path) as job:
        job.pids()

        assert job.ends() == [1, 1]
        assert "rank 1 (host" in job.output()
        assert "has made no progress for 4 s while other ranks wait for it" in job.output()


def test_a_rank_that_leaves_with_an_error_is_named_with_it(tmp_path) -> None:
    with by_hand(3, "fail_on_rank_1", tmp_path, timeout_s=60) as job:
        assert job.ends() == [1, 1, 1]
        for rank in (0, 2):
            said = job.ranks[rank].output(2)
            assert "rank 1 (host" in said and "left with ValueError: the batch is bad;" in said
        assert "RankLost" not in job.ranks[1].output(2)


def test_an_error_on_every_rank_stays_what_it_is(tmp_path) -> None:
    with by_hand(2, "fail_on_every_rank", tmp_path) as job:
        assert job.ends() == [1, 1]
        assert job.output().count("ValueError: every batch is bad") == 2
        assert "rank 0 (host" not in job.output() and "rank 1 (host" not in job.output()
        assert job.why() == set()


def test_long_work_of_one_rank_or_all_and_a_normal_end_are_silent(tmp_path) -> None:
    with by_hand(2, "work_on_rank_0", tmp_path, timeout_s=2) as job:
        assert job.ends() == [0, 0]
        assert job.output() == ""


def test_a_process_that_hangs_on_its_way_out_is_ended(tmp_path) -> None:
    with by_hand(1, "hang_on_the_way_out", tmp_path) as job:
        assert job.ends() == [1]
        assert "has not ended 1 s after: all was done" in job.output()


def test_a_rank_that_holds_the_interpreter_is_named_and_ends_too(tmp_path) -> None:
    with by_hand(2, "hold_the_interpreter_on_rank_1", tmp_path) as job:
        pids = job.pids()

        assert job.ends() == [1, -signal.SIGABRT]
        assert f"pid {pids[1]}) has given no sign of life for 4 s" in "".join(job.why())
        said = job.ranks[1].output(2)
        assert f"pid {pids[1]}) holds its interpreter for 5 s" in said
        assert "in hold_the_interpreter_on_rank_1" in said  # of the traceback


def test_ranks_that_wait_for_each_other_in_different_places_end_in_time(tmp_path) -> None:
    with by_hand(2, "speak_past_the_ranks_on_rank_1", tmp_path) as job:
        assert job.ends() == [1, 1]
        assert (
            "rank 0 waits in mean of 1 tensors (tests/helpers/watchdog_program.py:" in job.output()
        )
        assert "rank 1 has reached none yet" in job.output()


def test_a_collective_of_a_part_beside_a_training_step_ends_in_time_with_both_places(tmp_path):
    with by_hand(2, "ask_torch_inside_a_training_on_rank_1", tmp_path) as job:
        assert job.ends() == [1, 1]
        place = r"\(tests/helpers/watchdog_program.py:\d+, ask_torch_inside_a_training_on_rank_1\)"
        assert re.search(
            rf"\(rank 0 was last in mean of gradients {place}; rank 1 waits in all_reduce, called "
            rf"by a component {place}\); so rank \d ends; let the part call it on every rank",
            job.output(),
        )


def test_a_rank_that_is_done_earlier_is_told_with_the_place_of_the_other(tmp_path) -> None:
    with by_hand(2, "leave_with_fewer_collectives_on_rank_1", tmp_path) as job:
        assert job.ends() == [1, 1]
        for rank in (0, 1):
            said = job.ranks[rank].output(2)
            assert "RanksDisagree: ranks reached different collectives: rank 0: mean of 1" in said
            assert "; rank 1: barrier (" in said
