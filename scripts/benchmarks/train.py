"""Compares steps of the harness's loop with those of one written by hand, dense and masked.

A round of a side is one epoch without a partial batch, of samples in memory. What the harness does
at an epoch's end (weights finite, norm of gradients, loss) counts, though real epochs are longer.
"""

from collections.abc import Iterator
from statistics import quantiles

from torch import nn

from benchmarks.figure import Figure, Note, Seconds, Side, in_turns, ratio
from benchmarks.ranks_jobs import answer_of
from benchmarks.task import checked_difference
from benchmarks.train_networks import NETWORKS, Bare, Harness, Network, built
from harness.distributed import Ranks

MASKED_AT_MOST = 1.02
RANKS, RANKS_WITHIN_S = 2, 7200.0


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Returns for each network harness / bare and masked / dense, on one rank and on two.

    Bare / bare is the noise of them. A figure whose bound is smaller has no target.

    Raises:
        RuntimeError: the two loops do not give the same model.
        JobFailed: the job of two ranks failed.
    """
    for name, network in NETWORKS.items():
        used = network.shortened() if quick else network
        seconds, difference = measured(used, quick, repeats or used.rounds)
        yield from compared(f"train: {name}", used, seconds, difference)
    answer = answer_of(
        "train_ranks_program", count=RANKS, within_s=RANKS_WITHIN_S, quick=quick, repeats=repeats
    )
    for name, seconds in answer.items():
        yield from compared(f"train: {name}, {RANKS} ranks", NETWORKS[name], seconds)


def measured(network: Network, quick: bool, rounds: int) -> tuple[Seconds, float]:
    """Returns the seconds of each side, and the largest difference of weights after an epoch."""
    split, ranks = network.split(), Ranks()
    trainings: dict[str, Bare | Harness] = {
        "bare": Bare(built(network, quick), network, split),
        "dense": Harness(built(network, quick), network, split, ranks, masked=False),
        "masked": Harness(built(network, quick), network, split, ranks, masked=True),
        "bare again": Bare(built(network, quick), network, split),
    }
    for training in trainings.values():
        training.run_epoch()
    models: list[nn.Module] = [trainings[side].model for side in ("dense", "bare")]
    difference = checked_difference(*(model.state_dict() for model in models), "bare loop")
    sides = {
        side: Side(lambda training=training: training, type(training).run_epoch)  # type: ignore
        for side, training in trainings.items()
    }
    return in_turns(sides, rounds, warm_up=False), difference


def compared(
    title: str, network: Network, seconds: Seconds, difference: float | None = None
) -> Iterator[Figure | Note]:
    scatter = scatter_of(seconds)
    same = {} if difference is None else {"largest_weight_difference": difference}
    for over, under, words, bound, more in (
        ("dense", "bare", "harness / bare", network.bound, same),
        ("masked", "dense", "masked / dense", masked_bound(network), {}),
    ):
        name = f"{title}, {words}"
        decidable = bound is not None and scatter <= bound - 1
        target = {"at_most": bound} if decidable else {}
        yield ratio(name, seconds, over, under, **target, **more)
        if bound is not None and not decidable:
            text = f"not decidable here: half of bare / bare is beyond 1 +- {scatter:.3f}"
            yield Note(name, text)
    yield ratio(f"{title}, bare / bare (noise)", seconds, "bare again", "bare")


def masked_bound(network: Network) -> float | None:
    """Returns the bound of masked / dense: LeNet-300-100 has none."""
    return MASKED_AT_MOST if network.bound < 1.1 else None


def scatter_of(seconds: Seconds) -> float:
    """Returns how far from 1 the farther quartile of bare / bare is, over the rounds."""
    rounds = [a / b for a, b in zip(seconds["bare again"], seconds["bare"], strict=True)]
    if len(rounds) < 2:
        return abs(rounds[0] - 1)
    lower, _, upper = quantiles(rounds, n=4)
    return max(abs(lower - 1), abs(upper - 1))
