"""Runs the cases of the tests of the gradient exchange on several ranks."""

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from harness.distributed import Ranks, gradient_exchange
from harness.distributed.ddp import NO_BUFFERS, no_sync
from harness.distributed.gradient_exchange import (
    DENSE,
    GradientExchange,
    MasksInForce,
    register_exchange,
)
from harness.pruning.masks import MaskStore
from harness.vocabulary.tensors import Tensors, clone_tensors

EXCHANGES = {
    "dense": DENSE,
    "sparse": GradientExchange(sparse=True),
    "dense bfloat16": GradientExchange(dtype=torch.bfloat16),
    "sparse bfloat16": GradientExchange(sparse=True, dtype=torch.bfloat16),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "channels_last": {},
    "bucket views": {"gradient_as_bucket_view": True},
    "unused parameter": {"find_unused_parameters": True},
}
CASES = [(variant, "") for variant in VARIANTS] + [("plain", " bfloat16")]
BUCKET = 16 / 1024  # MiB, so that small models have several


class Net(nn.Module):
    def __init__(self, unused: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * 36, 64)
        self.dead = nn.Linear(64, 64)
        self.unused = nn.Linear(64, 64) if unused else None
        self.out = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.norm(self.conv(x)).relu().flatten(1)).relu()
        return self.out(x + self.dead(x))


def net(variant: str = "") -> Net:
    torch.manual_seed(0)
    made = Net(unused=variant == "unused parameter")
    return made.to(memory_format=torch.channels_last) if variant == "channels_last" else made


def random_masks(model: nn.Module) -> Tensors:
    """Keeps three in ten weights, and none of `dead`; biases and norms have no mask."""
    seeded = torch.Generator().manual_seed(1)
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    masks = {name: torch.rand(p.shape, generator=seeded) < 0.3 for name, p in weights.items()}
    return {**masks, "dead.weight": torch.zeros_like(masks["dead.weight"])}


def batch(ranks: Ranks, step: int) -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(100 * step + ranks.rank))


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return (model(inputs) ** 2).sum()


def replica_of(
    model: nn.Module, how: GradientExchange, live: MasksInForce, **switches: Any
) -> DistributedDataParallel:
    made = DistributedDataParallel(model, bucket_cap_mb=BUCKET, **NO_BUFFERS, **switches)
    register_exchange(made, how, live)
    return made


def gradients(ranks: Ranks) -> dict[str, dict[str, Any]]:
    """Returns gradients after the backward and masks, per case, exchange and step."""
    return {
        variant + dtype: {
            name: _steps(ranks, variant, EXCHANGES[name + dtype]) for name in ("dense", "sparse")
        }
        for variant, dtype in CASES
    }


def _steps(ranks: Ranks, variant: str, how: GradientExchange) -> dict[str, Any]:
    model = net(variant)
    masks = random_masks(model)
    replica = replica_of(model, how, lambda: masks, **VARIANTS[variant])
    found = {}

    def step(name: str) -> None:
        loss(replica, batch(ranks, len(found))).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found[name] = {"gradients": clone_tensors(gradients), "masks": clone_tensors(masks)}
        model.zero_grad(set_to_none=True)

    step("first")
    step("after DDP rearranged its buckets")
    rows = torch.arange(len(masks["hidden.weight"])) % 2 == 1
    masks["hidden.weight"] = masks["hidden.weight"] & rows.unsqueeze(1)
    step("after a mask was replaced")
    masks["conv.weight"] = masks["conv.weight"] & (torch.arange(3) > 0).view(3, 1, 1)
    step("after another was")
    with no_sync(replica):
        loss(replica, batch(ranks, 50)).backward()
    step("accumulated")
    return found


def rounded(ranks: Ranks) -> dict[str, Tensors]:
    """Returns gradients of the dense bfloat16 exchange, and what every rank sends alone."""
    replica = replica_of(model := net(), EXCHANGES["dense bfloat16"], dict)
    with no_sync(replica):
        loss(replica, batch(ranks, 0)).backward()
    own = {
        name: p.grad / ranks.world_size
        for name, p in model.named_parameters()
        if p.grad is not None
    }
    model.zero_grad(set_to_none=True)
    loss(replica, batch(ranks, 0)).backward()
    return {"own": own, "mean": {name: p.grad for name, p in model.named_parameters()}}


def messages(ranks: Ranks) -> dict[str, Any]:
    """Returns the messages of three layers, each its own bucket: unpruned, half pruned, pruned."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(3)))
    masks = {f"{i}.weight": torch.ones(64, 64, dtype=torch.bool) for i in range(3)}
    masks["1.weight"][:32] = False
    masks["2.weight"][:] = False
    changes: dict[str, Callable[[], Any]] = {
        "first": lambda: None,
        "after DDP rearranged its buckets": lambda: None,
        "unchanged": lambda: None,
        "one mask damaged": lambda: masks["1.weight"][32].zero_(),
        "one mask replaced": lambda: masks.update({"1.weight": masks["1.weight"].clone()}),
    }
    found: dict[str, Any] = {}
    for name in ("sparse", "sparse bfloat16"):
        replica = replica_of(model, EXCHANGES[name], lambda: masks)
        for change, make in changes.items():
            make()
            with (
                watched("all_reduce", dist) as sent,
                watched("_live_entries", gradient_exchange) as lists,
            ):
                loss(replica, torch.randn(4, 64)).backward()
            sizes = sorted(tensor.nbytes for tensor, *_ in sent)
            found[f"{name}, {change}"] = {"bytes": sizes, "lists": len(lists)}
        masks["1.weight"][32] = True
    return found


class ReversedBucket(nn.Module):
    """Has one bucket that DDP lays out in this order first, then in that of gradients, reversed."""

    def __init__(self) -> None:
        super().__init__()
        self.short = nn.Parameter(torch.ones(3))
        self.weight = nn.Parameter(torch.ones(5, 3))
        self.long = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.short) @ self.weight.T * self.long


def reversed_bucket(ranks: Ranks) -> list[Tensor]:
    """Returns the weight's gradients before and after. The weight has the only mask."""
    model, mask = ReversedBucket(), torch.arange(15).view(5, 3) % 2 == 0
    replica = replica_of(model, EXCHANGES["sparse"], lambda: {"weight": mask})
    found = []
    for _ in range(2):
        replica(torch.ones(1, 3)).sum().backward()
        found.append(model.get_parameter("weight").grad)
        model.zero_grad(set_to_none=True)
    return found


@contextmanager
def watched(name: str, module: Any) -> Iterator[list[tuple[Any, ...]]]:
    """Yields the arguments of every call of module.name inside the context."""
    calls, real = [], getattr(module, name)

    def watching(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **named)

    setattr(module, name, watching)
    try:
        yield calls
    finally:
        setattr(module, name, real)


def training(ranks: Ranks) -> dict[str, dict[str, Tensors]]:
    """Returns weights after eight steps of the pipeline; in the middle masks shrink."""
    return {
        variant: {name: _trained(ranks, net(variant), how) for name, how in EXCHANGES.items()}
        for variant in ("plain", "unused parameter")
    }


def _trained(ranks: Ranks, model: Net, how: GradientExchange) -> Tensors:
    masks = random_masks(model)
    store = MaskStore({name: model.get_parameter(name) for name in masks})
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=0.01)
    replica = ranks.wrap(model, lambda new: loss(new, batch(ranks, 99)), how, lambda: store.masks)
    mask_gradients = store.gradient_masker(model)
    for step in range(8):
        if step == 4:
            store.shrink_to(masks)
            store.apply_to(model, optimizer)
        with no_sync(replica):
            loss(replica, batch(ranks, 2 * step)).backward()
        loss(replica, batch(ranks, 2 * step + 1)).backward()
        mask_gradients()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def leftovers(ranks: Ranks) -> bool:
    """True if a replica with a hook outlives its last reference."""
    replica = replica_of(net(), EXCHANGES["sparse"], lambda: random_masks(net()))
    loss(replica, batch(ranks, 0)).backward()
    remembered = weakref.ref(replica)
    del replica
    gc.collect()
    return remembered() is not None


def all_cases(ranks: Ranks) -> dict[str, Any]:
    cases = (gradients, rounded, messages, reversed_bucket, training, leftovers)
    return {case.__name__: case(ranks) for case in cases}
