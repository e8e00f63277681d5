from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import Annotated, ClassVar

import numpy as np

from harness.allocation.base import Allocation, Layer, Layers, Proposals, Size
from harness.vocabulary.tensors import Counts
from harness.vocabulary.topk import topk_counts

BUDGETS = 4096  # equal steps of the cost of all that may go
OPTIONS = 256  # numbers of units that are tried of one layer, at most
PRECISION = 2**52  # whole numbers that stand for the sum of all scores


@dataclass(frozen=True)
class Halp(Allocation):
    """max sum of the scores that stay, with cost <= budget: a knapsack over all layers.

    k units of a layer are worth the sum of its k highest scores, and cost S(k) - S(floor). S is the
    size of the network in which this layer keeps k units and the others what is alive, in what the
    schedule requests: nanoseconds with schedule.unit=latency, else multiply-accumulates or
    parameters. So unit j costs T(j) - T(j - 1), in the layers that read it too, and nothing where
    the device takes the same time without it. Layers that read each other shrink together, which
    these costs do not know: of all budgets the one is taken whose network has the requested size.
    Where every unit costs the same, the units with the highest scores stay.

    step: units of a layer go in groups of so many, and in larger ones in a layer of more than 256
    groups. With structure.round_to a group is a multiple of that too.

    The knapsack is solved exactly for costs in 4096 steps, by dynamic programming over layers in
    whole numbers. Of solutions of equal worth, the last layers keep more.

    Source: Shen et al. 2022, Structural Pruning via Latency-Saliency Knapsack (arXiv:2210.06659).
    They fill the knapsack group by group and demand that those of higher score are in it, score by
    squared Taylor terms, and prune in many steps with costs anew. Here each layer chooses one
    number of units, scores are those of any unsigned saliency, and schedule.rounds sets the steps.

    Raises:
        ValueError: step is no whole number >= 1.
    """

    step: Annotated[int, "a whole number in [1, 65536]; write e.g. 8"] = 1

    nested: ClassVar[bool] = False

    @property
    def needs_unsigned_scores(self) -> bool:
        return True

    def distribute(self, layers: Layers, keep: int) -> Counts:
        """Returns the units with the highest scores, which is the knapsack of equal costs."""
        return topk_counts({name: layer.scores for name, layer in layers.items()}, keep)

    def proposals(self, layers: Layers, size: Size) -> Proposals:
        """Returns the solutions of the knapsack by budget, in steps of its cost."""
        floors, alive = self.floors(layers), {n: layer.alive for n, layer in layers.items()}
        counts = {name: self._counts(layer, floors[name]) for name, layer in layers.items()}
        costs = {
            name: [size({**alive, name: count}) for count in tried]
            for name, tried in counts.items()
        }
        whole = sum(each[-1] - each[0] for each in costs.values())
        coin = max(1, -(-whole // BUDGETS))
        weights = {
            name: [(2 * (cost - each[0]) + coin) // (2 * coin) for cost in each]
            for name, each in costs.items()
        }
        chosen, most = _knapsack(list(weights.values()), self._worths(layers, counts))

        def at(budget: int) -> Counts:
            kept: Counts = {}
            for name, table in reversed([*zip(layers, chosen, strict=True)]):
                option = int(table[budget])
                kept[name] = counts[name][option]
                budget -= weights[name][option]
            return {name: kept[name] for name in layers}

        return Proposals(0, most, at)

    def _counts(self, layer: Layer, floor: int) -> list[int]:
        """Returns the numbers of units to try, from the floor to all that is alive."""
        group = lcm(self.step, layer.multiple)
        step = group * max(1, -(-(layer.alive - floor) // (group * OPTIONS)))
        inner = range((floor // step + 1) * step, layer.alive, step)
        return list(dict.fromkeys((floor, *inner, layer.alive)))

    def _worths(self, layers: Layers, counts: dict[str, list[int]]) -> list[list[int]]:
        """Returns per layer the worth of each number of units, in parts of the sum of scores."""
        ranked = {
            name: -np.sort(-layer.scores.detach().double().cpu().numpy(), axis=None)[: layer.alive]
            for name, layer in layers.items()
        }
        total = float(sum(scores.sum() for scores in ranked.values())) or 1.0
        worths = []
        for name, scores in ranked.items():
            sums = np.concatenate([[0], np.rint(scores / total * PRECISION).astype(np.int64)])
            sums = sums.cumsum()
            worths.append([int(sums[count]) for count in counts[name]])
        return worths


def _knapsack(
    weights: Sequence[Sequence[int]], worths: Sequence[Sequence[int]]
) -> tuple[list["np.ndarray[tuple[int], np.dtype[np.int32]]"], int]:
    """Returns for each layer its option by the budget that it and those before share.

    weights, worths: per layer one of each option; weights never fall, and begin with 0. The second
    result is the largest budget, at which every layer has its last option.
    """
    most = sum(each[-1] for each in weights)
    best = np.zeros(most + 1, dtype=np.int64)
    chosen = []
    for weight, worth in zip(weights, worths, strict=True):
        found, option = np.full(most + 1, -1, dtype=np.int64), np.zeros(most + 1, dtype=np.int32)
        for number, (each, value) in enumerate(zip(weight, worth, strict=True)):
            offered = best[: most + 1 - each] + value
            better = offered >= found[each:]
            found[each:][better] = offered[better]
            option[each:][better] = number
        best = found
        chosen.append(option)
    return chosen, most
