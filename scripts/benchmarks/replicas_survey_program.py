"""Times runs of the default survey on several ranks, with and without comparisons."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from torch import nn

from benchmarks.figure import Seconds, Side, in_turns
from benchmarks.ranks_jobs import answer
from benchmarks.silent import ME, Silent
from harness.distributed import Ranks
from harness.experiment import runner
from harness.experiment.recorder import Recorder
from harness.launch.compose import compose_config
from harness.launch.execute import build
from harness.pruning.reader import Reader
from harness.vocabulary.tensors import Tensors


def measured(ranks: Ranks, rounds: int, epochs: int, methods: Sequence[str]) -> Seconds:
    """Returns rank 0's seconds of one run of each method in each round, per side.

    The warm-up trains the dense model, which the survey's runs share too.
    """
    with TemporaryDirectory(prefix="replicas-") as top:
        dense = Path(ranks.broadcast_object(top), "dense")

        def survey(_: None) -> None:
            for method in methods:
                overrides = [f"method={method}", f"retraining.epochs={epochs}", "tracking=none"]
                experiment = build(compose_config(["sweep=survey", *overrides]))
                runner.run(Recorder(*runner.prepare(experiment, ranks, dense), ME, Silent()))

        def without(_: None) -> None:
            with uncompared():
                survey(None)

        works: dict[str, Callable[[None], None]] = {
            "compared": survey,
            "inside only": without,
            "compared again": survey,
        }
        seconds = in_turns(
            {name: Side(ranks.barrier, work) for name, work in works.items()}, rounds
        )
        ranks.barrier()
        return seconds


@contextmanager
def uncompared() -> Iterator[None]:
    """Compares models at the ends of epochs only.

    It turns off the comparisons over ranks before measurements and trainings, and those before and
    after a component reads a model.
    """
    compare = Ranks.check_replicas

    def inside(ranks: Ranks, model: nn.Module, what: str, also: Tensors | None = None) -> None:
        if what.startswith("the replicas after epoch "):
            compare(ranks, model, what, also)

    def begin(reader: Any, part: Any, *_: Any) -> None:
        reader.part = part

    def call(reader: Any, call: str, *arguments: Any, **more: Any) -> Any:
        return getattr(reader.part, call)(*arguments, **more)

    with (
        patch.object(Ranks, "check_replicas", inside),
        patch.object(Reader, "__init__", begin),
        patch.object(Reader, "__call__", call),
    ):
        yield


if __name__ == "__main__":
    answer(measured)
