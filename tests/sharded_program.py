"""What tests of the sharded top-k run on several ranks: torchrun ... sharded_program.py OUT."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from harness.distributed import Ranks, ranks_of_environment
from harness.distributed.sharded import top_each_sharded, top_sharded
from harness.failures import RanksDisagree
from harness.selection import top, top_each

SEEDS = 8
SHAPES = [(7, 3), (1,), (12,), (2, 2, 2, 2), (0, 5), (33, 4)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]

Values = Callable[[tuple[int, ...], torch.Generator], Tensor]


def normal(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def tied(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Few values, among them both zeros."""
    some = torch.tensor([-2.0, -0.0, 0.0, 0.0, 3.0], dtype=torch.float64)
    return some[torch.randint(len(some), shape, generator=random)]


def equal(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return torch.full(shape, -1.5, dtype=torch.float64)


def mostly_dead(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    dead = torch.rand(shape, generator=random) < 0.8
    return tied(shape, random).masked_fill(dead, -math.inf)


def extreme(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Infinities, numbers too small to be normal, and neighbours that only float64 tells apart."""
    some = [math.inf, -math.inf, 1e-45, -1e-45, 5e-324, 1.0, 1.0 + 2**-52, -1.0, 3e38, -3e38]
    return torch.tensor(some, dtype=torch.float64)[
        torch.randint(len(some), shape, generator=random)
    ]


KINDS: list[Values] = [normal, tied, equal, mostly_dead, extreme]


def cases() -> Iterator[tuple[str, dict[str, Tensor], torch.Generator]]:
    """Whole tensors, the same on every rank; names are not in alphabetical order."""
    for seed in range(SEEDS):
        for kind in KINDS:
            random = torch.Generator().manual_seed(seed)
            dtype = DTYPES[seed % len(DTYPES)]
            count = int(torch.randint(1, 5, (), generator=random))
            picked = torch.randint(len(SHAPES), (count,), generator=random).tolist()
            whole = {
                f"{'zyxw'[i]}.weight": kind(SHAPES[shape], random).to(dtype)
                for i, shape in enumerate(picked)
            }
            yield f"{kind.__name__} {seed}", whole, random


def cuts(rows: int, count: int, random: torch.Generator) -> list[int]:
    """Where the slices of the ranks begin and end: sizes are unequal, and some are 0."""
    inner = torch.randint(rows + 1, (count - 1,), generator=random).sort().values.tolist()
    return [0, *inner, rows]


def expected(whole: dict[str, Tensor], keep: int) -> dict[str, Tensor]:
    """What selection.top cuts from all tensors, one after the other."""
    mask = top(torch.cat([t.flatten() for t in whole.values()]), keep)
    parts = mask.split([t.numel() for t in whole.values()])
    return {n: p.view(t.shape) for (n, t), p in zip(whole.items(), parts, strict=True)}


def wrong_masks(ranks: Ranks) -> list[str]:
    """Cases in which this rank's masks are not the slices of the whole tensors' masks."""
    wrong = []
    for case, whole, random in cases():
        bounds = {n: cuts(len(t), ranks.count, random) for n, t in whole.items()}

        def shard(tensors: dict[str, Tensor], at: dict[str, list[int]]) -> dict[str, Tensor]:
            return {n: t[at[n][ranks.rank] : at[n][ranks.rank + 1]] for n, t in tensors.items()}

        mine, total = shard(whole, bounds), sum(t.numel() for t in whole.values())
        before = {n: t.clone() for n, t in mine.items()}
        some = int(torch.randint(total + 1, (), generator=random))
        for keep in sorted({0, some, total // 2, total}):
            if not same(top_sharded(mine, keep, ranks), shard(expected(whole, keep), bounds)):
                wrong.append(f"{case}, keep {keep} of {total}")
        each = {n: t.numel() * 2 // 5 for n, t in whole.items()}
        if not same(top_each_sharded(mine, each, ranks), shard(top_each(whole, each), bounds)):
            wrong.append(f"{case}, {each}")
        if not all(torch.equal(mine[n], t) for n, t in before.items()):
            wrong.append(f"{case}: scores were changed")
    return wrong


def same(found: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(found) == list(right) and all(
        mask.dtype == torch.bool and torch.equal(mask, right[name]) for name, mask in found.items()
    )


def said(call: Callable[[], object]) -> str:
    try:
        call()
    except (ValueError, RanksDisagree) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def refusals(ranks: Ranks) -> dict[str, str]:
    """What this rank says to what is wrong on the last rank, or everywhere."""
    last = ranks.rank == ranks.count - 1
    fine = torch.ones(3, 2)
    nan = torch.tensor([[1.0, math.nan], [1.0, 1.0]]) if last else torch.ones(2, 2)
    total = 6 * ranks.count
    other = {"v": fine} if last else {"w": fine}
    order = ("v", "w") if last else ("w", "v")
    return {
        "nan": said(lambda: top_sharded({"a": fine, "w": nan}, 2, ranks)),
        "nan, nothing kept": said(lambda: top_sharded({"w": nan}, 0, ranks)),
        "negative": said(lambda: top_sharded({"w": fine}, -1, ranks)),
        "too many": said(lambda: top_sharded({"w": fine}, total + 1, ranks)),
        "too many of one": said(lambda: top_each_sharded({"w": fine}, {"w": total + 1}, ranks)),
        "nothing there": said(lambda: top_sharded({}, 1, ranks)),
        "keep differs": said(lambda: top_sharded({"w": fine}, 1 + last, ranks)),
        "name differs": said(lambda: top_sharded(other, 1, ranks)),
        "order differs": said(lambda: top_sharded(dict.fromkeys(order, fine), 1, ranks)),
        "dtype differs": said(
            lambda: top_sharded({"w": fine.double() if last else fine}, 1, ranks)
        ),
    }


def traffic(ranks: Ranks) -> dict[str, int]:
    """Bytes that this rank gives to sums over ranks, per event of five tensors."""
    scores = {f"{i}.weight": torch.randn(100, 10) for i in range(5)}
    summed = dist.all_reduce
    found = {}
    for name, event in (
        ("all", lambda: top_sharded(scores, 77, ranks)),
        ("each", lambda: top_each_sharded(scores, dict.fromkeys(scores, 7), ranks)),
    ):
        sizes: list[int] = []

        def counting(tensor: Tensor, *arguments: object, sizes: list[int] = sizes, **more: object):
            sizes.append(tensor.nbytes)
            return summed(tensor, *arguments, **more)

        dist.all_reduce = counting
        event()
        dist.all_reduce = summed
        found[name] = sum(sizes)
    return found


def refuse(*arguments: object, **more: object) -> None:
    raise AssertionError("digests of single tensors are sent only where something differs")


def compare_weights(ranks: Ranks) -> dict[str, str]:
    """What is said of equal tensors, and when one bit of the last rank's differs."""
    last = ranks.rank == ranks.count - 1
    tensors = {"mask": torch.ones(9, dtype=torch.bool), "w": torch.zeros(5), "b": torch.ones(2)}
    gather, dist.all_gather_object = dist.all_gather_object, refuse
    found = {"equal": said(lambda: ranks.check_equal(tensors, "replicas"))}
    dist.all_gather_object = gather
    if last:
        tensors["w"][3] = -0.0
    found["weight"] = said(lambda: ranks.check_equal(tensors, "replicas"))
    if last:
        tensors["mask"].view(torch.uint8)[2] = 0b101
    found["weight and byte of a mask"] = said(lambda: ranks.check_equal(tensors, "replicas"))
    return found


def main() -> None:
    torch.set_num_threads(1)
    with ranks_of_environment("cpu") as ranks:
        found = {
            "wrong": wrong_masks(ranks),
            "said": refusals(ranks),
            "nothing": list(top_sharded({}, 0, ranks)),
            "traffic": traffic(ranks),
            "compared": compare_weights(ranks),
        }
        Path(sys.argv[1], f"{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
