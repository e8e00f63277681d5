from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.vocabulary.checks import check_declared
from harness.vocabulary.finite import is_finite
from harness.vocabulary.given.inputs import Inputs, call_model
from harness.vocabulary.tensors import eval_mode

COUNT = "a whole number >= 2; one sample has no variance"
Norms = dict[str, _BatchNorm]  # module name -> norm that keeps running statistics


@dataclass(frozen=True)
class BatchNormStatistics:
    """mean, variance = those of each BatchNorm's inputs over `samples` training inputs.

    As in training, a norm normalises each batch by the batch's own mean and variance, so that later
    norms receive the same inputs as in training. The norm then keeps the mean of its inputs over
    all samples (and positions) and their unbiased variance about that mean, as one batch of all
    samples would give them. Every sample counts the same, also in a smaller last batch. torch's
    cumulative average (momentum=None) would count batches the same, and would leave the spread
    between batches out of the variance.

    Source: Li et al. 2020, EagleEye (arXiv:2007.02491), adaptive batch normalisation. We differ:
    their code lets some 50 training batches move the old statistics by the norms' momentum, in
    train mode throughout. Here the old statistics are replaced, and all other modules (dropout) are
    in eval mode.

    Raises:
        ValueError: samples or batch_size is not a whole number of at least 2, or the last batch
            is of one sample, which has no variance.
    """

    samples: Annotated[int, COUNT] = 1024
    batch_size: Annotated[int, COUNT] = 128

    def __post_init__(self) -> None:
        check_declared(self)
        if self.samples % self.batch_size == 1:
            raise ValueError(
                f"samples={self.samples} in batches of batch_size={self.batch_size} leave a last "
                f"batch of one sample, which has no variance; use samples={self.samples - 1}"
            )

    def check(self, model: nn.Module) -> None:
        """Checks the model before any training.

        Raises:
            ValueError: the model has no BatchNorm that keeps running statistics.
        """
        if not _norms(model):
            raise ValueError(
                "recalibration=batch_norm needs a BatchNorm that keeps running statistics, but "
                f"{type(model).__name__} has none; leave recalibration out, or use a model with "
                "one, e.g. model=lenet_5_bn"
            )

    @torch.no_grad()
    def apply(self, model: nn.Module, batches: Iterable[Inputs]) -> None:
        """Writes the statistics; everything else, modes included, is restored bit for bit.

        num_batches_tracked is restored too: it counts steps of training, and none happens here.
        Norms in eval mode are measured as well: they were frozen for another model, and an
        evaluation before this leaves every norm in eval mode. A norm that is never called keeps its
        statistics. After an error all norms keep theirs.

        Ranks do not communicate, SyncBatchNorm included: equal batches give equal statistics on all
        ranks.

        Raises:
            ValueError: the model has no such norm, there is no batch (or none reaches a norm), a
                norm gets one value per channel, or inputs of a norm are not finite.
        """
        self.check(model)
        norms = _norms(model)
        with eval_mode(model), _measuring(norms) as measured:
            for inputs in batches:
                call_model(model, inputs)
        if not measured:
            raise ValueError(
                "recalibration: no BatchNorm was given any input; give batches of at least 2 "
                "training samples"
            )
        _check_finite(measured)
        for name, moments in measured.items():
            _write(norms[name], moments.mean, moments.squares / (moments.values - 1))


class Moments(NamedTuple):
    """Holds count, mean and summed squares about the mean of the values in each channel."""

    values: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> "Moments":
        """Returns the moments of inputs (samples, channels, ...), in float64 for many merges."""
        wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        over = [0, *range(2, wide.dim())]
        variance, mean = torch.var_mean(wide, dim=over, correction=0)
        values = _values(inputs)
        return cls(values, mean.double(), variance.double() * values)

    def merged(self, other: "Moments") -> "Moments":
        """Returns the moments of both sets of values together (Chan et al. 1983)."""
        values = self.values + other.values
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.values / values)
        between = gap.square() * (self.values * other.values / values)
        return Moments(values, mean, self.squares + other.squares + between)


@contextmanager
def _measuring(norms: Norms) -> Iterator[dict[str, Moments]]:
    """Yields the moments of all inputs of the norms inside, where each norm uses its batch's.

    Norms must be in eval mode, where they normalise by their running statistics. These are set
    before each call, so that a synchronised norm does not communicate. The original statistics are
    restored at exit, also after an error.
    """
    own = {name: [tensor.clone() for tensor in _statistics(norm)] for name, norm in norms.items()}
    measured: dict[str, Moments] = {}

    def measure(name: str, norm: _BatchNorm, arguments: tuple[Any, ...]) -> None:
        inputs = arguments[0]
        if (values := _values(inputs)) < 2:
            raise ValueError(
                f"recalibration: norm {name or 'the model itself'} got {values} values per channel "
                "in a batch, but needs at least 2; use batches of more samples"
            )
        batch = Moments.of(inputs)
        measured[name] = measured[name].merged(batch) if name in measured else batch
        _write(norm, batch.mean, batch.squares / batch.values)

    hooks = [norm.register_forward_pre_hook(partial(measure, name)) for name, norm in norms.items()]
    try:
        yield measured
    finally:
        for hook in hooks:
            hook.remove()
        for name, norm in norms.items():
            _write(norm, *own[name])


def _values(inputs: Tensor) -> int:
    """Returns the number of values in each channel."""
    return inputs.numel() // inputs.shape[1]


def _check_finite(measured: dict[str, Moments]) -> None:
    for name, moments in measured.items():
        # A value that is not finite leaves no finite sum of squares about the mean.
        if not is_finite(moments.squares):
            raise ValueError(
                f"recalibration: inputs of norm {name or 'the model itself'} are not finite; did "
                "the training diverge? lower its learning rate"
            )


def _norms(model: nn.Module) -> Norms:
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    return mean, variance


def _write(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    # In place: other objects hold the buffers too.
    for statistic, value in zip(_statistics(norm), (mean, variance), strict=True):
        statistic.copy_(value)
