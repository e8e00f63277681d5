"""Runs the tasks of the watchdog's tests: watchdog_program.py TASK OUT TIMEOUT_S."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch.distributed import distributed_c10d

from harness.distributed import Options, Ranks, ranks_of_environment, watchdog


def train(ranks: Ranks, out: Path, hang: int = -1) -> None:
    """Steps until OUT/stop is there. After a few, OUT/pid-RANK is; rank `hang` hangs there."""
    for step in range(10**6):
        if step == 5:
            (out / f"pid-{ranks.rank}").write_text(str(os.getpid()))
            if ranks.rank == hang:
                time.sleep(1000)
        ranks.heartbeat()
        if ranks.sum(torch.tensor(float((out / "stop").exists()))):
            return
        ranks.heartbeat()
        time.sleep(0.01)


def hang_on_rank_1(ranks: Ranks, out: Path) -> None:
    train(ranks, out, hang=1)


def hold_the_interpreter_on_rank_1(ranks: Ranks, out: Path) -> None:
    """Holds the interpreter like C code that never lets another thread run."""
    ranks.barrier()
    (out / f"pid-{ranks.rank}").write_text(str(os.getpid()))
    if ranks.rank == 1:
        ctypes.PyDLL(None).sleep(1000)
    ranks.barrier()


def speak_past_the_ranks_on_rank_1(ranks: Ranks, out: Path) -> None:
    """Calls a collective without announcing it, as often as the other ranks call theirs."""
    if ranks.rank == 1:
        ranks.heartbeat()
        distributed_c10d.all_reduce(torch.zeros(1))
    ranks.mean({"w": torch.ones(2)}, 1)


def ask_torch_inside_a_training_on_rank_1(ranks: Ranks, out: Path) -> None:
    """Calls torch from a component, while the other ranks send unannounced gradients."""
    ranks.barrier()
    if ranks.rank == 1:
        torch.distributed.all_reduce(torch.zeros(1))
    ranks.heartbeat(before="mean of gradients")
    distributed_c10d.all_reduce(torch.ones(2))


def leave_with_fewer_collectives_on_rank_1(ranks: Ranks, out: Path) -> None:
    if ranks.rank == 0:
        ranks.mean({"w": torch.ones(2)}, 1)


def fail_on_rank_1(ranks: Ranks, out: Path) -> None:
    ranks.barrier()
    if ranks.rank == 1:
        raise ValueError("the batch\nis bad")
    ranks.barrier()


def fail_on_every_rank(ranks: Ranks, out: Path) -> None:
    ranks.barrier()
    time.sleep(ranks.rank / 2)
    raise ValueError("every batch is bad")


def work_on_rank_0(ranks: Ranks, out: Path) -> None:
    """Works longer than a rank may hang, but sends heartbeats; later all ranks do so."""
    until = time.monotonic() + 1.5 * ranks.options.timeout_s
    while ranks.is_main and time.monotonic() < until:
        time.sleep(0.1)
        ranks.heartbeat(alone=True)
    ranks.heartbeat()
    ranks.barrier()
    time.sleep(1.5 * ranks.options.timeout_s)


def hang_on_the_way_out(ranks: Ranks, out: Path) -> None:
    watchdog.LEAVE_S = 1.0
    torch.distributed.destroy_process_group = lambda: time.sleep(1000)


def interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def at_work(task: str, out: Path, timeout_s: float) -> None:
    torch.set_num_threads(1)
    with ranks_of_environment("cpu", Options(timeout_s=timeout_s)) as ranks:
        assert ranks.watch
        ranks.watch.on_loss.append(lambda why: (out / f"why-{ranks.rank}").write_text(why))
        # As in a run, which leaves at its next step, and at once where it does not train:
        # torchrun sends it when another rank has died.
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        try:
            globals()[task](ranks, out)
        finally:
            signal.signal(signal.SIGTERM, interrupt)


if __name__ == "__main__":
    at_work(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
