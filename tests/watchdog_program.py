"""What the tests of the watchdog run on several ranks: watchdog_program.py TASK OUT TIMEOUT_S."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

from harness.distributed import Options, Ranks, ranks_of_environment, watchdog


def steps(ranks: Ranks, out: Path) -> None:
    """Trains until OUT/stop is there; says which process it is once it does."""
    for step in range(10**6):
        ranks.alive()
        if ranks.sum(torch.tensor(float((out / "stop").exists()))):
            return
        ranks.alive()
        if step == 3:
            (out / f"pid-{ranks.rank}").write_text(str(os.getpid()))
        time.sleep(0.01)


def hang(ranks: Ranks, out: Path) -> None:
    """Rank 1 hangs in its forward."""
    for step in range(10**6):
        if step == 5 and ranks.rank == 1:
            time.sleep(1000)
        ranks.alive()
        ranks.sum(torch.zeros(10))
        ranks.alive()


def fail_on_1(ranks: Ranks, out: Path) -> None:
    for step in range(10**6):
        if step == 5 and ranks.rank == 1:
            raise ValueError("the batch is bad")
        ranks.sum(torch.zeros(10))


def fail_on_all(ranks: Ranks, out: Path) -> None:
    ranks.wait()
    time.sleep(ranks.rank / 2)
    raise ValueError("every batch is bad")


def work_on_main(ranks: Ranks, out: Path) -> None:
    """Rank 0 alone works for twice as long as a rank may hang, and shows that it lives."""

    def work() -> None:
        until = time.monotonic() + 2 * ranks.options.timeout_s
        while time.monotonic() < until:
            time.sleep(0.1)
            ranks.alive(alone=True)

    ranks.alive()
    if ranks.is_main:
        work()
    else:
        ranks.alive()
    ranks.wait()


def hang_on_the_way_out(ranks: Ranks, out: Path) -> None:
    watchdog.LEAVE_S = 1.0
    torch.distributed.destroy_process_group = lambda: time.sleep(1000)


def main() -> None:
    torch.set_num_threads(1)
    # As in a run, which leaves at its next step; torchrun sends it when another rank has died.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    task, out = globals()[sys.argv[1]], Path(sys.argv[2])
    with ranks_of_environment("cpu", Options(timeout_s=float(sys.argv[3]))) as ranks:
        assert ranks.watch
        ranks.watch.at_loss.append(lambda why: (out / f"lost-{ranks.rank}").write_text(why))
        task(ranks, out)


if __name__ == "__main__":
    main()
