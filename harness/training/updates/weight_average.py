"""Averages a model's weights over the steps of a training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.distributed.ddp import running_statistics
from harness.vocabulary.tensors import Tensors

Averages = dict[str, list[Tensor]]  # "parameters" and "statistics"


class WeightAverage:
    """Holds a = decay a + (1 - decay) w over the steps, from the weights before the first one.

    Real-valued parameters and running statistics of norms are averaged, as in timm; the rest is the
    model's own. A weight counts as 0 from the step on at which it is pruned.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model, self.decay = model, decay
        self.names = [n for n, p in model.named_parameters() if p.is_floating_point()]
        self.parameters = _copies(self._parameters())
        self.statistics = _copies(self._statistics())  # ranks differ inside an epoch

    @torch.no_grad()
    def update(self, masks: Tensors) -> None:
        """Adds the weights after a step. `masks` are bool by name, False where pruned."""
        average, current = [*self.parameters, *self.statistics], self._current()
        torch._foreach_lerp_(average, current, 1 - self.decay)
        for name, mask in masks.items():
            self.parameters[self.names.index(name)].masked_fill_(~mask, 0)

    @torch.no_grad()
    def into_model(self) -> None:
        """Makes the averages the model's weights."""
        torch._foreach_copy_(self._current(), [*self.parameters, *self.statistics])

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Gives the model its averages inside the context."""
        own = _copies(self._current())
        self.into_model()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._current(), own)

    def state(self) -> Averages:
        """Returns the averages that are equal on all ranks at an epoch's end, and rank 0's rest."""
        return {"parameters": self.parameters, "statistics": self.statistics}

    @torch.no_grad()
    def load(self, saved: Averages) -> None:
        """Loads the result of `state`, or a part of it, in place."""
        for key, tensors in saved.items():
            for mine, each in zip(getattr(self, key), tensors, strict=True):
                mine.copy_(each)

    def _current(self) -> list[Tensor]:
        return [*self._parameters(), *self._statistics()]

    def _parameters(self) -> list[Tensor]:
        return [self.model.get_parameter(name).detach() for name in self.names]

    def _statistics(self) -> list[Tensor]:
        # Anew, because a forward pass may have replaced a buffer.
        return [each for each in running_statistics(self.model) if each.is_floating_point()]


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]
