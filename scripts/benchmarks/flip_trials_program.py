"""Runs on several ranks, one after the other, in each of which one bit of the masks flips."""

import json
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.bit_flip import Flip, flipping
from benchmarks.ranks_jobs import answer
from benchmarks.silent import ME, Silent
from harness.distributed import Options, Ranks
from harness.distributed.stop_signal import StopSignal
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.run_folder.checkpoints import Checkpoints, Policy
from harness.run_folder.environment import numerics_key
from harness.system.errors import RanksDisagree
from harness.training.checkpointing import Checkpointer
from harness.training.loop import Loop

# 4 steps per epoch: 8 of dense training, then 2 levels of 8 under masks.
RUN = (
    "data=blobs", "model=mlp", "model.hidden=[16]", "model.batch_norm=true",
    "training.epochs=2", "retraining.epochs=2", "schedule=geometric", "schedule.levels=2",
    "calibration.samples=64",
)  # fmt: skip
STEPS_UNDER_MASKS = 16
EVERY_STEPS = 3  # a checkpoint after the third step of an epoch, and after its last one
EXCHANGES = ("dense", "sparse")


class Trial:
    """Holds one run with a flip, and its result on this rank."""

    def __init__(self, ranks: Ranks, flip: Flip, folder: Path):
        self.ranks, self.flip, self.folder = ranks, flip, folder
        self.files = Checkpoints(folder / "run" / "checkpoints")
        self.due = 0  # steps from the flip's to the one that a checkpoint follows
        self.checkpoints = list[str]()
        self.tensor = self.message = ""

    def run(self) -> dict[str, Any]:
        with StopSignal(self.ranks) as stop:
            levels = self._levels(stop)
            with flipping(self.flip, self.ranks.rank, self._at_flip) as since:
                try:
                    runner.run(Recorder(*levels, ME, Silent(), self.files))
                except RanksDisagree as error:
                    self.message = str(error)
        in_time = len(since) == self.due and self._checkpoints() == self.checkpoints
        tensor = next(filter(None, self.ranks.all_gather_object(self.tensor)), "")
        named = names(self.message, self.ranks.world_size, self.flip, tensor)
        return {
            "tensor": tensor,
            "said": self.message,
            "named": named,
            "at the next check": in_time,
        }

    def _levels(self, stop: StopSignal) -> runner.Prepared:
        policy = Policy(every_steps=EVERY_STEPS)
        checkpointer = Checkpointer(self.ranks, stop, policy, numerics_key(self.ranks), "flips")
        self.ranks.on_main(self.files.clear)
        return runner.prepare(
            build(compose_config(RUN)), self.ranks, self.folder / "dense", checkpointer
        )

    def _at_flip(self, loop: Loop, tensor: str) -> None:
        self.tensor, self.checkpoints = tensor, self._checkpoints()
        self.due = min(EVERY_STEPS - loop.step % EVERY_STEPS, loop.steps - loop.step)

    def _checkpoints(self) -> list[str]:
        return sorted(file.name for file in self.files.folder.glob("*"))


def names(message: str, ranks: int, flip: Flip, tensor: str) -> bool:
    """True if an error names the tensor and the wrong rank. With two ranks no rank is named."""
    odd = f"rank {flip.rank} differs from the others" if ranks > 2 else "ranks 0 and 1 differ"
    return any(odd in line and tensor in line for line in message.splitlines())


def measured(ranks: Ranks, trials: int, seed: int, folder: str) -> None:
    """Runs all trials.

    Each rank writes its result of every trial to a file of its own, which is kept if a later trial
    hangs.
    """
    draws = random.Random(f"{seed} {ranks.world_size}")
    with Path(folder, f"rank-{ranks.rank}.jsonl").open("w") as file:
        for number in range(trials):
            flip = Flip.drawn(draws, ranks.world_size, STEPS_UNDER_MASKS)
            exchange = EXCHANGES[number % len(EXCHANGES)]
            own = replace(ranks, options=Options(gradient_exchange=exchange))
            result = Trial(own, flip, Path(folder)).run()
            line = {"trial": number, "exchange": exchange, **asdict(flip), **result}
            file.write(json.dumps(line) + "\n")
            file.flush()


if __name__ == "__main__":
    answer(measured)
