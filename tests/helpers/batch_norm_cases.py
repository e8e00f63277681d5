"""Runs the cases of test_batch_norm.py on several ranks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness.distributed import Ranks
from harness.distributed.batch_norm import SyncedBatchNorm, convert_batch_norm
from harness.models.resnet_18 import ResNet18
from harness.models.resnet_cifar import ResNetCifar
from harness.models.vgg_bn import VggBn
from harness.training.batches.batching import micro_batches

Found = dict[str, Tensor]
BATCH = 13  # 7 + 6 on two ranks, 4 + 3 + 3 + 3 on four
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(5), (5,)),
    "1d sequence": (lambda: nn.BatchNorm1d(5), (5, 4)),
    "2d": (lambda: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3), (3, 4, 5)),
    "2d cumulative": (lambda: nn.BatchNorm2d(3, momentum=None), (3, 4, 5)),
    "2d without affine": (lambda: nn.BatchNorm2d(3, affine=False), (3, 4, 5)),
    "2d without tracking": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (3, 4, 5)),
    "3d": (lambda: nn.BatchNorm3d(2), (2, 2, 3, 3)),
}


def one_norm(ranks: Ranks) -> dict[str, Found]:
    """Runs two forwards and backwards of a norm on this rank's shard, per case and dtype."""
    return {
        f"{case} {dtype}".replace("torch.", ""): passes(make, shape, dtype, ranks)
        for case, (make, shape) in CASES.items()
        for dtype in (torch.float32, torch.float64)
    }


def passes(
    make: Callable[[], nn.Module], shape: tuple[int, ...], dtype: torch.dtype, ranks: Ranks
) -> Found:
    torch.manual_seed(0)
    norm = make().to(dtype)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2.0)
    norm = convert_batch_norm(norm, ranks)
    for _ in range(2):
        batch, weights = 3 * torch.randn(2, BATCH, *shape, dtype=dtype) + 7
        mine = ranks.shard(torch.arange(BATCH))
        inputs = batch[mine].requires_grad_()
        norm.zero_grad()
        outputs = norm(inputs)
        # The sum over samples of something that mean and variance do not leave unchanged.
        loss = (weights[mine] * outputs.square()).sum() * ranks.world_size / BATCH
        loss.backward()
    assert inputs.grad is not None
    averaged = {
        f"gradient of {name}": ranks.sum(parameter.grad.clone()) / ranks.world_size
        for name, parameter in norm.named_parameters()
        if parameter.grad is not None
    }
    own = {"outputs": outputs.detach(), "gradient of inputs": inputs.grad / ranks.world_size}
    return {**own, **averaged, **{name: b.clone() for name, b in norm.named_buffers()}}


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(4 * 3 * 3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3),
    )  # fmt: skip


# Network -> how it is made, rows and columns of its images.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "small": (network, 5),
    **{
        part.name_in_literature: (partial(part.build, (2, 16, 16), 3), 16)
        for part in (ResNetCifar(0.125), ResNet18(0.03), VggBn(0.06))
    },
}
SMALL = [("small", dtype) for dtype in (torch.float32, torch.float64)]
MODELS = [(name, torch.float64) for name in NETWORKS if name != "small"]  # on two ranks at most


def training(ranks: Ranks) -> dict[str, Found]:
    """Returns the state after ten DDP steps, with momentum and partial last batches."""
    chosen = SMALL if ranks.world_size > 2 else [*SMALL, *MODELS]
    return {f"{name} {dtype}": trained(name, dtype, ranks) for name, dtype in chosen}


def trained(name: str, dtype: torch.dtype, ranks: Ranks) -> Found:
    torch.manual_seed(0)
    make, side = NETWORKS[name]
    model = convert_batch_norm(make().to(dtype), ranks)
    images = torch.randn(57, 2, side, side, dtype=dtype) * 2 + 1
    labels = torch.arange(57) % 3
    loss = nn.CrossEntropyLoss(reduction="sum")
    replica = ranks.wrap(model, lambda wrapped: loss(wrapped(images[:2]), labels[:2]))
    replica.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(2):
        order = torch.randperm(57, generator=torch.Generator().manual_seed(epoch))
        for micro_batch in micro_batches(order, 12, ranks, accumulate=1):
            chosen = micro_batch.indices
            (loss(replica(images[chosen]), labels[chosen]) * micro_batch.scale).backward()
            optimizer.step()
            optimizer.zero_grad()
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def far_from_zero(ranks: Ranks) -> Found:
    """Returns the running variance of float32 samples with a mean of 10,000 standard deviations."""
    torch.manual_seed(0)
    batch = 1e4 + torch.randn(4096, 8)
    norm = convert_batch_norm(nn.BatchNorm1d(8, momentum=1.0), ranks)
    norm(ranks.shard(batch))
    return {"found": norm.running_var, "true": batch.double().var(dim=0)}


def autocast(ranks: Ranks) -> dict[str, Found]:
    """Returns outputs of half precision through norms with float32 parameters."""
    found = {}
    for half in (torch.bfloat16, torch.float16):
        norm = convert_batch_norm(nn.BatchNorm2d(3), ranks)
        torch.manual_seed(0)
        batch = torch.randn(BATCH, 3, 4, 4).to(half)
        inputs = ranks.shard(torch.arange(BATCH))
        share = batch[inputs].requires_grad_()
        with torch.autocast("cpu", half):
            outputs = norm(share)
        outputs.float().square().sum().backward()
        assert share.grad is not None
        found[str(half)] = {
            "outputs": outputs.detach(), "gradient": share.grad, "running_var": norm.running_var
        }  # fmt: skip
    return found


@contextmanager
def counted() -> Iterator[list[str]]:
    """Yields the list of collectives that are called inside."""
    called: list[str] = []
    real = {name: getattr(dist, name) for name in ("all_reduce", "all_gather", "broadcast")}

    def counting(name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            called.append(name)
            return real[name](*args, **kwargs)

        return call

    for name in real:
        setattr(dist, name, counting(name))
    try:
        yield called
    finally:
        for name, function in real.items():
            setattr(dist, name, function)


def collectives(ranks: Ranks) -> dict[str, list[str]]:
    """Returns the collectives of a forward and backward in eval mode, and in training mode."""
    norm = convert_batch_norm(nn.BatchNorm1d(4), ranks)
    found = {}
    for mode in ("eval", "train"):
        norm.train(mode == "train")
        with counted() as called:
            norm(torch.randn(3, 4, requires_grad=True)).sum().backward()
        found[mode] = list(called)
    return found


def one_value(ranks: Ranks) -> dict[str, str]:
    """Returns the error on one sample over all ranks; two samples over all ranks are enough."""
    norm = convert_batch_norm(nn.BatchNorm1d(4), ranks)
    said = ""
    try:
        norm(torch.randn(1 if ranks.is_main else 0, 4))
    except ValueError as error:
        said = str(error)
    norm(torch.randn(1, 4))
    return {"said": said}


def classes(ranks: Ranks) -> dict[str, str]:
    model = convert_batch_norm(network(), ranks)
    kind = {True: "synced", False: "plain"}
    return {n: kind[isinstance(m, SyncedBatchNorm)] for n, m in model.named_modules() if n}


TASKS = (one_norm, training, far_from_zero, autocast, collectives, classes)


def all_cases(ranks: Ranks) -> dict[str, Any]:
    cases = TASKS if ranks.world_size == 1 else (*TASKS, one_value)
    return {case.__name__: case(ranks) for case in cases}
