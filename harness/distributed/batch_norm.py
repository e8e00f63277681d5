"""Computes BatchNorm over the samples of all ranks, whatever their number."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from harness.distributed.ranks import Ranks


def convert_batch_norm(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Returns the model whose BatchNorm layers train on the statistics of the global batch.

    With one rank the model is unchanged, else its norms are converted in place. Use the returned
    model, because the model itself may be a norm. Parameters are the same objects; names and modes
    do not change. On CUDA the norms become torch.nn.SyncBatchNorm, which refuses the CPU; there
    they become SyncedBatchNorm.

    In training every forward and backward pass of a norm is a collective, so all ranks must make
    the same number of calls. Statistics are those of one forward pass. With gradient accumulation
    they are those of the ranks' k-th micro-batches together, which hold other samples than the k-th
    micro-batch of one process.

    Raises:
        ValueError: A norm has its own class, whose forward pass would be lost.
    """
    if ranks.world_size == 1:
        return model
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for name, norm in norms.items():
        _check_known(name, norm, ranks)
    if ranks.device.type == "cuda":
        return _with_torchs_own(model)
    for norm in norms.values():
        # Changes the class of the object, so that every reference to the layer is synced.
        norm.__class__ = SYNCED.get(type(norm), type(norm))
    return model


def has_synced_norms(model: nn.Module) -> bool:
    kinds = (SyncedBatchNorm, nn.SyncBatchNorm)
    return any(isinstance(module, kinds) for module in model.modules())


def use_local_batch_norm(model: nn.Module) -> nn.Module:
    """Returns the model with norms of this rank's samples alone, changed in place."""
    norms: list[_BatchNorm] = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    for norm in norms:
        if isinstance(norm, (SyncedBatchNorm, nn.SyncBatchNorm)):
            norm.__class__ = LocalBatchNorm  # type: ignore[assignment]
    return model


class LocalBatchNorm(_BatchNorm):
    """Computes BatchNorm over the samples of one rank, for inputs of any number of dimensions."""

    def _check_input_dim(self, input: Tensor) -> None: ...


class SyncedBatchNorm(_BatchNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance over all ranks.

    Equal to BatchNorm on the whole batch in one process, if the mean over ranks of the ranks'
    losses is the loss of the whole batch; DDP then averages the gradients. The ranks' batches may
    differ in size. Running statistics are equal bit for bit on all ranks. In eval mode, and outside
    a group, this is plain BatchNorm.

    Raises:
        ValueError: All ranks together have one value per channel.
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
        batches, running_mean, running_var = (
            self.num_batches_tracked,
            self.running_mean,
            self.running_var,
        )
        assert batches is not None and running_mean is not None and running_var is not None
        batches.add_(1)
        momentum = 1 / int(batches) if self.momentum is None else self.momentum
        running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
        running_var.mul_(1 - momentum).add_(unbiased, alpha=momentum)


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
    # One by one, because for a whole model torch converts a shared norm in one place only.
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
    """Returns mean, biased variance and number of values per channel over all ranks.

    Every rank sums squares about its own mean, and these are merged in float64 (Chan et al. 1983):
    E[x^2] - E[x]^2 would lose all digits of a variance that is small beside the mean.
    """
    wide, over = inputs.to(_wide(inputs)), _all_but_channels(inputs)
    own = inputs.numel() // inputs.shape[1]
    centre = wide.sum(over) / max(own, 1)
    centred = wide - _spread(centre, wide)
    drift = centred.sum(over).double() / max(own, 1)  # rounding error of the centre
    squares = (centred.square_().sum(over) - own * drift.square()).clamp_(min=0)
    means, squared, counts = _gathered(centre + drift, squares, drift.new_tensor([own]))
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (squared + counts * (means - mean).square()).sum(0) / count
    return mean.to(wide.dtype), variance.to(wide.dtype), int(count)


def _gathered(*vectors: Tensor) -> tuple[Tensor, ...]:
    """Returns each vector of every rank, (ranks, size). Equal bits on every rank."""
    local = torch.cat(vectors)
    vectors_of_ranks = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(vectors_of_ranks, local)
    sizes = [len(vector) for vector in vectors]
    return tuple(torch.stack(vectors_of_ranks).split_with_sizes(sizes, dim=1))


class _Normalise(torch.autograd.Function):
    """(inputs - mean) / sqrt(variance + eps) * weight + bias.

    Mean and variance are functions of all ranks' inputs, so backward sums their gradients over the
    ranks. The gradients of weight and bias are this rank's own; DDP averages them.
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
    """Returns float32 for half-precision inputs (autocast), as torch does, else their dtype."""
    return torch.promote_types(inputs.dtype, torch.float32)


def _all_but_channels(inputs: Tensor) -> list[int]:
    return [0, *range(2, inputs.dim())]


def _spread(vector: Tensor, like: Tensor) -> Tensor:
    """Returns one value per channel in a shape that broadcasts over (samples, channels, ...)."""
    return vector.view(1, -1, *[1] * (like.dim() - 2))
