"""Reduces gradients over ranks: dense or unpruned entries only, in their own dtype or rounded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from harness.vocabulary.tensors import Tensors

MasksInForce = Callable[
    [], Tensors
]  # parameter name -> mask in force, True is live; no mask: all live
Reduced = torch.futures.Future[torch.Tensor]


@dataclass(frozen=True)
class GradientExchange:
    """Describes how gradients are reduced over ranks.

    Args:
        sparse: True reduces only the gradients of unpruned weights. All others are 0 afterwards.
        dtype: Gradients are rounded to it before the sum. None keeps their dtype.
    """

    sparse: bool = False
    dtype: torch.dtype | None = None


DENSE = GradientExchange()


def register_exchange(
    replica: DistributedDataParallel,
    exchange: GradientExchange,
    masks_in_force: MasksInForce | None = None,
) -> None:
    """Registers the hook by which the replica's backward pass averages gradients.

    `masks_in_force` is called at every step. Masks may be replaced between steps, but not written
    to, and must be equal on all ranks. It must not refer to the replica: DDP keeps it where the
    garbage collector does not look, so the replica would never be freed.

    Raises:
        ValueError: A mask belongs to no parameter of the model, or has another shape.
    """
    if exchange == DENSE:
        return  # DDP's own path
    masks = masks_in_force if exchange.sparse and masks_in_force else dict[str, Tensor]
    _check(masks(), dict(replica.module.named_parameters()))
    replica.register_comm_hook(_Buckets(replica, exchange.dtype, masks), _average)


class SparseBucket:
    """Holds the buffers of one bucket.

    `pack` makes the tensor to sum in place, `unpack` writes it back.

    The memory is kept for all steps.

    Args:
        buffer: Gradients of the bucket.
        live: Ascending indices of unpruned entries in the bucket. None if all are unpruned.
        dtype: Data type of the sum. None keeps that of the bucket.
        world_size: Number of ranks.
    """

    def __init__(
        self, buffer: Tensor, live: Tensor | None, dtype: torch.dtype | None, world_size: int
    ):
        # int64, because index_copy_ takes nothing else; int32 gathers no faster.
        self._live = live
        self._fraction = 1 / world_size
        self._values = buffer.new_empty(0 if live is None else live.numel())
        size = buffer.numel() if live is None else live.numel()
        rounded = dtype not in (None, buffer.dtype)
        self._wire = buffer.new_empty(size, dtype=dtype) if rounded else None

    def pack(self, buffer: Tensor) -> Tensor:
        """Returns this rank's part of the mean.

        The bucket is consumed: pruned entries are 0 afterwards.
        """
        values = buffer
        if self._live is not None:
            values = torch.index_select(buffer, 0, self._live, out=self._values)
            # Before the sum starts: on CUDA `unpack` runs on a stream that waits for the sum only.
            buffer.zero_()
        # Like DDP, divides before the sum, and by multiplication.
        values.mul_(self._fraction)
        return values if self._wire is None else self._wire.copy_(values)

    def unpack(self, buffer: Tensor) -> Tensor:
        """Returns the bucket with the summed values of `pack` at their positions."""
        values = buffer if self._live is None else self._values
        if self._wire is not None:
            values.copy_(self._wire)
        return buffer if self._live is None else buffer.index_copy_(0, self._live, values)


class _Known(NamedTuple):
    key: list[tuple[int, int]]  # per parameter: id, id of its mask
    masks: list[Tensor | None]  # kept alive, so that their ids are not reused
    packing: SparseBucket


class _Buckets:
    """Keeps the SparseBucket of every bucket.

    It is made again when parameters move or a mask changes.
    """

    def __init__(
        self, replica: DistributedDataParallel, dtype: torch.dtype | None, live: MasksInForce
    ):
        self.group: dist.ProcessGroup = replica.process_group
        self._names = {id(p): name for name, p in replica.module.named_parameters()}
        self._dtype, self._live = dtype, live
        self._known: dict[int, _Known] = {}

    def packing(self, bucket: GradBucket) -> SparseBucket:
        masks, parameters = self._live(), bucket.parameters()
        own_masks = [masks.get(self._names[id(p)]) for p in parameters]
        # Not the masks' values: a bit flipped on one rank must not change how much it sends,
        # which gloo answers by an abort; the ranks' next comparison of masks names it.
        key = [(id(p), id(m)) for p, m in zip(parameters, own_masks, strict=True)]
        known = self._known.get(bucket.index())
        if known is None or known.key != key:
            entries = _live_entries(parameters, own_masks)
            packing = SparseBucket(bucket.buffer(), entries, self._dtype, self.group.size())
            known = self._known[bucket.index()] = _Known(key, own_masks, packing)
        return known.packing


# torch requires the name "bucket" and these annotations.
def _average(buckets: _Buckets, bucket: GradBucket) -> Reduced:
    sparse, buffer = buckets.packing(bucket), bucket.buffer()
    packed = sparse.pack(buffer)
    if not packed.numel():
        return _done(buffer)  # Everything is pruned on all ranks: nothing to sum.

    def unpack(sent: torch.futures.Future[list[Tensor]]) -> Tensor:
        sent.value()  # raises an error of the collective
        return sparse.unpack(buffer)

    work = dist.all_reduce(packed, group=buckets.group, async_op=True)
    return work.get_future().then(unpack)


def _done(buffer: Tensor) -> Reduced:
    done: Reduced = torch.futures.Future(devices=[buffer.device] if buffer.is_cuda else [])
    done.set_result(buffer)
    return done


def _live_entries(parameters: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor | None:
    """Returns ascending indices of unpruned entries in the parameters' bucket.

    None if all are unpruned.
    """
    if all(mask is None for mask in masks):
        return None
    flat = torch.cat([_laid_out(p, m) for p, m in zip(parameters, masks, strict=True)])
    return None if flat.all() else flat.nonzero().squeeze(1)


def _laid_out(parameter: Tensor, mask: Tensor | None) -> Tensor:
    """Returns a flat mask in the order of a bucket, which is the memory order of the parameter."""
    if mask is None:
        return torch.ones(parameter.numel(), dtype=torch.bool, device=parameter.device)
    # The parameter may be channels_last, and its mask not.
    alike = torch.empty_like(parameter, dtype=torch.bool)
    if alike.stride() != parameter.stride():
        return mask.to(parameter.device).flatten()  # it has gaps, and DDP lays it out by index
    return alike.copy_(mask).as_strided((alike.numel(),), (1,))


def _check(masks: Tensors, parameters: dict[str, nn.Parameter]) -> None:
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            actual = (
                f"of shape {tuple(parameters[name].shape)}" if name in parameters else "unknown"
            )
            raise ValueError(
                f"{name}: a mask of shape {tuple(mask.shape)} must be of a parameter of that name "
                f"and shape, and that is {actual}; are these the masks of another model?"
            )
