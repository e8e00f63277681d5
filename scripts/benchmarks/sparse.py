"""Dense passes over passes with weights in compressed sparse rows, at growing shares of zeros."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

import harness
from benchmarks.figure import Figure, Note, Side, in_turns, ratio
from harness.delivery.sparse_linear import AMPERE
from harness.models.mlp import Mlp

REPEATS, PASSES, QUICK_PASSES, BATCH = 31, 10, 1, 64
HIDDEN, ZEROS = [1024, 1024, 1024], (0.5, 0.8, 0.9, 0.95)
NO_GPU = "not measured: no GPU of compute capability 8.0 or more"


def figures(repeats: int | None, quick: bool) -> Iterator[Figure | Note]:
    """Returns dense / CSR of an MLP 784-1024-1024-1024-10 at batch 64, and dense over itself.

    Masks are random; each layer loses the same fraction. Outputs were compared by harness.sparse.
    """
    passes, rounds = (QUICK_PASSES if quick else PASSES), repeats or REPEATS
    for zeros in ZEROS:
        model, inputs = network([32] if quick else HIDDEN)
        masks = harness.prune(model, 1 - zeros, saliency="random", allocation="uniform")
        rows = harness.sparse(model, masks, inputs, max_density=1.0)
        seconds = timed({"dense": model, "CSR": rows, "dense again": model}, inputs, passes, rounds)
        label = f"sparse: {100 * zeros:.0f} % zeros"
        yield ratio(f"{label}, dense / CSR", seconds, "dense", "CSR")
        yield ratio(f"{label}, dense / dense (noise)", seconds, "dense", "dense again")
    yield from semi_structured(passes, rounds)


def semi_structured(passes: int, rounds: int) -> Iterator[Figure | Note]:
    """Returns dense / 2:4 in float16 on a GPU, or says why it is not measured."""
    label = "sparse: 2:4 in float16"
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < AMPERE:
        yield Note(label, NO_GPU)
        return
    model, inputs = network([4096, 4096])
    model, inputs = model[2:].cuda().half(), torch.randn(4096, 784, device="cuda").half()
    masks = harness.prune(model, structure="n_m")
    sparse = harness.sparse(model, masks, inputs, layout="semi_structured")
    sides = {"dense": model, "2:4": sparse, "dense again": model}
    seconds = timed(sides, inputs, passes, rounds)
    yield ratio(f"{label}, dense / 2:4", seconds, "dense", "2:4")
    yield ratio(f"{label}, dense / dense (noise)", seconds, "dense", "dense again")


def network(hidden: list[int]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Mlp(hidden).build((784,), 10).eval(), torch.randn(BATCH, 784)


def timed(
    models: dict[str, nn.Module], inputs: Tensor, passes: int, rounds: int
) -> dict[str, list[float]]:
    work = {
        name: Side(lambda: None, partial(forward, model, inputs, passes))
        for name, model in models.items()
    }
    return in_turns(work, rounds)


@torch.inference_mode()
def forward(model: nn.Module, inputs: Tensor, passes: int, prepared: None = None) -> None:
    for _ in range(passes):
        model(inputs)
    if inputs.is_cuda:
        torch.cuda.synchronize()
