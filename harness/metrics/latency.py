"""Says under which conditions a run measures the speed of its model."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, NamedTuple

from harness.extras import check_extra
from harness.vocabulary.checks import check_declared

RuntimeName = Literal["eager", "compile", "onnxruntime"]
DtypeName = Literal["float64", "float32", "bfloat16", "float16"]


class Conditions(NamedTuple):
    """Holds the conditions of one measurement, beside device and versions."""

    runtime: str
    batch_size: int
    dtype: str
    threads: int


@dataclass(frozen=True)
class Latency:
    """Says under which conditions a run measures forward passes; no record depends on it.

    Every combination is measured.

    batch_sizes: samples at once; empty: nothing is measured.
    runtimes: what runs the model.
    dtypes: of weights and inputs; empty: the run's own.
    threads: intra-op threads; empty: the run's own.
    repeats: timed rounds, each with a pass of the dense model and one of the model that is left.
    warm_up: rounds before them, which are not timed.

    Raises:
        ValueError: a value is no count, or a name is unknown.
        MissingExtra: onnxruntime is asked for and not installed; names the pip command.
    """

    batch_sizes: tuple[Annotated[int, "a whole number in [1, 65536]"], ...] = ()
    runtimes: Annotated[tuple[RuntimeName, ...], "not empty; write e.g. [eager]"] = ("eager",)
    dtypes: tuple[DtypeName, ...] = ()
    threads: tuple[Annotated[int, "a whole number in [1, 1024]"], ...] = ()
    repeats: Annotated[int, "a whole number in [1, 1000000]"] = 50
    warm_up: Annotated[int, "a whole number in [0, 1000000]"] = 5

    def __post_init__(self) -> None:
        check_declared(self)
        if self.batch_sizes and "onnxruntime" in self.runtimes:
            check_extra("export", "latency.runtimes=[onnxruntime]")

    def conditions(self, dtype: str, threads: int) -> Iterator[Conditions]:
        """Yields every combination once, batch sizes innermost.

        dtype, threads: the run's own.
        """
        dtypes, counts = self.dtypes or (dtype,), self.threads or (threads,)
        combinations = product(self.runtimes, dtypes, counts, self.batch_sizes)
        for runtime, precision, count, size in dict.fromkeys(combinations):
            yield Conditions(runtime, size, precision, count)
