"""Times training steps on several ranks: of the harness's loop, and of one written by hand."""

from torch.nn.parallel import DistributedDataParallel  # noqa: TID251 (the loop by hand)

from benchmarks.figure import Seconds, Side, in_turns
from benchmarks.ranks_jobs import answer
from benchmarks.train_networks import NETWORKS, Bare, Harness, Network, built
from harness.distributed import Ranks


def measured(ranks: Ranks, quick: bool, repeats: int | None) -> dict[str, Seconds]:
    """Returns rank 0's seconds of an epoch in each round, per network and side."""
    return {
        name: seconds_of(ranks, network.shortened() if quick else network, quick, repeats)
        for name, network in NETWORKS.items()
    }


def seconds_of(ranks: Ranks, network: Network, quick: bool, repeats: int | None) -> Seconds:
    split = network.split()

    def bare() -> Bare:
        model = DistributedDataParallel(built(network, quick))
        return Bare(model, network, split, (ranks.rank, ranks.world_size))

    trainings: dict[str, Bare | Harness] = {
        "bare": bare(),
        "dense": Harness(built(network, quick), network, split, ranks, masked=False),
        "masked": Harness(built(network, quick), network, split, ranks, masked=True),
        "bare again": bare(),
    }

    def side(training: Bare | Harness) -> Side:
        def prepare() -> None:
            ranks.barrier()

        return Side(prepare, lambda _: training.run_epoch())

    sides = {key: side(training) for key, training in trainings.items()}
    return in_turns(sides, repeats or network.rounds)


if __name__ == "__main__":
    answer(measured)
