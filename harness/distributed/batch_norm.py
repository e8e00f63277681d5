"""BatchNorm over the samples of all ranks: training then does not depend on how many there are."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from harness.distributed.ranks import Ranks


def convert_batch_norm(model: nn.Module, ranks: Ranks) -> nn.Module:
    """The model whose BatchNorm layers train on the statistics of the global batch.

    With one rank the model as it is, else its norms are converted in place; use what is returned,
    for the model itself may be a norm. Parameters are the same objects, names and modes stay. On
    CUDA it is torch.nn.SyncBatchNorm, which refuses the CPU; there it is SyncedBatchNorm.

    In training every forward and every backward of a norm is a collective: all ranks make the
    same number of calls. Statistics are those of one forward: with gradient accumulation of the
    ranks' k-th parts together, which are other samples than one process has in its k-th part.

    Raises:
        ValueError: a norm is of a class of its own, whose forward would be lost.
    """
    if ranks.world_size == 1:
        return model
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for name, norm in norms.items():
        _check_known(name, norm, ranks)
    if ranks.device.type == "cuda":
        return _with_torchs_own(model)
    for norm in norms.values():
        # Not a new object: whoever holds the layer, under whatever name, holds the synced one.
        norm.__class__ = SYNCED.get(type(norm), type(norm))
    return model


class SyncedBatchNorm(_BatchNorm):
    """A BatchNorm whose training forward takes mean and variance over the samples of all ranks.

    Equal to BatchNorm on the whole batch in one process, if the mean over ranks of the ranks'
    losses is the loss of the whole batch; DDP then averages the gradients. Shares may differ in
    size. Running statistics are equal bit for bit on all ranks. In eval mode, and outside a
    group, plain BatchNorm.

    Raises:
        ValueError: all ranks together have one value per channel.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        mean, variance, count = _moments(input)
        if count < 2:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got {count} on all ranks "
                "together; raise the batch size"
            )
        if self.track_running_stats:
            self._track(mean, variance * (count / (count - 1)))
        normalised: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, variance, self.eps, count
        )
        return normalised

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        seen, running_mean, running_var = (
            self.num_batches_tracked,
            self.running_mean,
            self.running_var,
        )
        assert seen is not None and running_mean is not None and running_var is not None
        seen.add_(1)
        share = 1 / int(seen) if self.momentum is None else self.momentum
        running_mean.mul_(1 - share).add_(mean, alpha=share)
        running_var.mul_(1 - share).add_(unbiased, alpha=share)


class SyncedBatchNorm1d(SyncedBatchNorm, nn.BatchNorm1d):
    pass


class SyncedBatchNorm2d(SyncedBatchNorm, nn.BatchNorm2d):
    pass


class SyncedBatchNorm3d(SyncedBatchNorm, nn.BatchNorm3d):
    pass


SYNCED: dict[type[nn.Module], type[SyncedBatchNorm]] = {
    nn.BatchNorm1d: SyncedBatchNorm1d,
    nn.BatchNorm2d: SyncedBatchNorm2d,
    nn.BatchNorm3d: SyncedBatchNorm3d,
}


def _check_known(name: str, norm: nn.Module, ranks: Ranks) -> None:
    done = nn.SyncBatchNorm if ranks.device.type == "cuda" else SyncedBatchNorm
    if type(norm) not in SYNCED and not isinstance(norm, done):
        raise ValueError(
            f"norm {name or 'the model itself'} is a {type(norm).__name__}, and only BatchNorm1d, "
            "BatchNorm2d and BatchNorm3d of torch.nn can be synchronised between ranks; build the "
            "model from these, or leave statistics to each rank"
        )


def _with_torchs_own(model: nn.Module) -> nn.Module:
    # One by one: asked for the whole model, torch converts a shared norm in one place only.
    made: dict[nn.Module | None, nn.Module] = {
        norm: nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        for norm in model.modules()
        if type(norm) in SYNCED
    }
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in made:
                parent.add_module(name, made[child])
    return made.get(model, model)


@torch.no_grad()
def _moments(inputs: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance per channel over all ranks, and the number of values in each.

    Every rank sums squares about its own mean, and these are merged in float64 (Chan et al.
    1983): E[x^2] - E[x]^2 would lose all digits of a variance that is small beside the mean.
    """
    wide, over = inputs.to(_wide(inputs)), _all_but_channels(inputs)
    own = inputs.numel() // inputs.shape[1]
    centre = wide.sum(over) / max(own, 1)
    centred = wide - _spread(centre, wide)
    drift = centred.sum(over).double() / max(own, 1)  # what rounding left between it and the mean
    squares = (centred.square_().sum(over) - own * drift.square()).clamp_(min=0)
    means, squared, counts = _gathered(centre + drift, squares, drift.new_tensor([own]))
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (squared + counts * (means - mean).square()).sum(0) / count
    return mean.to(wide.dtype), variance.to(wide.dtype), int(count)


def _gathered(*vectors: Tensor) -> tuple[Tensor, ...]:
    """Each vector of every rank: (ranks, size). Equal bits on every rank."""
    mine = torch.cat(vectors)
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(every, mine)
    sizes = [len(vector) for vector in vectors]
    return tuple(torch.stack(every).split_with_sizes(sizes, dim=1))


class _Normalise(torch.autograd.Function):
    """(inputs - mean) / sqrt(variance + eps) * weight + bias.

    Mean and variance are functions of all ranks' inputs, so backward sums over the ranks what
    comes back through them. The gradients of weight and bias are this rank's own: DDP averages
    them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: int,
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight, mean, (variance + eps).rsqrt())
        ctx.count = count
        return F.batch_norm(inputs, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, mean, scale = ctx.saved_tensors
        over, gradient = _all_but_channels(inputs), gradient.to(mean.dtype)
        centred = inputs - _spread(mean, inputs)
        own = torch.stack([gradient.sum(over), (gradient * centred).sum(over) * scale])
        of_bias, of_weight = (None, None) if weight is None else own.to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_bias, None, None, None, None
        everyone = own.to(torch.float64, copy=True)  # own is of_weight and of_bias
        dist.all_reduce(everyone)
        shift, slope = (everyone / ctx.count).to(mean.dtype)
        factor = scale if weight is None else scale * weight
        of_inputs = (
            (gradient - _spread(shift, inputs))
            .addcmul_(centred, _spread(slope * scale, inputs), value=-1)
            .mul_(_spread(factor, inputs))
        )
        return of_inputs.to(inputs.dtype), of_weight, of_bias, None, None, None, None


def _wide(inputs: Tensor) -> torch.dtype:
    """Statistics of half-precision inputs (autocast) are taken in float32, as torch does."""
    return torch.promote_types(inputs.dtype, torch.float32)


def _all_but_channels(inputs: Tensor) -> list[int]:
    return [0, *range(2, inputs.dim())]


def _spread(vector: Tensor, like: Tensor) -> Tensor:
    """One value per channel, in a shape that broadcasts over (samples, channels, ...)."""
    return vector.view(1, -1, *[1] * (like.dim() - 2))
