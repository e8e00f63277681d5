"""Defines components that tests name by their _target_: parts.NAME."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from harness.data.base import Split, Splits
from harness.data.blobs import Blobs


class Centred(nn.Module):
    """Subtracts a running mean that differs between ranks, in training too."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.mean, Tensor)
        centred = x - self.mean.clone()
        if self.training:
            self.mean.lerp_(x.detach().mean(0).to(self.mean.dtype), 0.1)
        return centred


@dataclass(frozen=True)
class Dropping:
    """Contains all that a resumed training could lose: batch statistics, dropout and weights."""

    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        return nn.Sequential(
            nn.Linear(shape[0], width),
            nn.BatchNorm1d(width),
            Centred(width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, classes),
        )


class Bank(nn.Module):
    """Subtracts a running mean that no state_dict has, and replaces it by a new tensor.

    It also keeps the mean of the last batch, which is None at first.
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("bank", torch.zeros(width), persistent=False)
        self.register_buffer("last", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.last = x.detach().mean(0)
            self.bank = 0.9 * self.bank + 0.1 * self.last
        return x - self.bank - (0 if self.last is None else 0.1 * self.last)


@dataclass(frozen=True)
class Banked:
    """Has a state beside its state_dict."""

    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        return nn.Sequential(nn.Linear(shape[0], width), Bank(width), nn.Linear(width, classes))


class Counts(nn.Module):
    """Counts its calls in training where no checkpoint looks."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return x


@dataclass(frozen=True)
class Counted:
    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        return nn.Sequential(nn.Linear(shape[0], width), Counts(), nn.Linear(width, classes))


@dataclass
class Counting:
    """Changes no sample, only its own state."""

    draws: int = 1
    calls: int = 0

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        self.calls += 1
        return inputs


class CountingAdam(torch.optim.Adam):
    """Keeps a counter beside the optimizer's state."""

    calls = 0

    def step(self, closure: Any = None) -> Any:
        self.calls += 1
        return super().step(closure)


@dataclass(frozen=True)
class CountingPenalty:
    """Adds a penalty of 0, and counts the calls of its gradient hook."""

    epochs: int = 1
    needs_pending_masks: ClassVar[bool] = False

    def check(self, model: nn.Module, units: Any) -> None: ...

    def make_gradient_hook(
        self, model: nn.Module, units: Any, to_prune: dict[str, Tensor]
    ) -> Callable[[int], None]:
        calls = [0.0]

        def add(step: int) -> None:
            calls[0] += 1

        return add


@dataclass(frozen=True)
class Shifting:
    """Shifts each sample by its own amount."""

    draws: int = 1

    def apply(self, inputs: Tensor, draws: Tensor) -> Tensor:
        return inputs + draws.to(inputs.dtype) - 0.5


class Recurrent(nn.Module):
    """Has two small linear layers around an LSTM, which causes nearly all of the cost; 8 inputs."""

    def __init__(self, classes: int):
        super().__init__()
        self.before, self.cells = nn.Linear(1, 8), nn.LSTM(8, 16, batch_first=True)
        self.classifier = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.cells(self.before(x.unsqueeze(-1)))
        return self.classifier(states[:, -1])


@dataclass(frozen=True)
class RecurrentModel:
    hidden: list[int]
    batch_norm: bool = False

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return Recurrent(classes)


class Prototypes(nn.Module):
    """Scores classes by their distance to the rows of a linear layer."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.inner, self.rows = nn.Linear(width, 6), nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(self.inner(x).relu(), self.rows.weight)


@dataclass(frozen=True)
class PrototypesModel:
    hidden: list[int]
    batch_norm: bool = False

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return Prototypes(shape[0], classes)


class Letters(Blobs):
    """Draws sequences of integer ids, each the one before it plus 1, or less often plus 3."""

    def load(self) -> Splits:
        random = torch.Generator().manual_seed(self.split_seed)
        sizes = (self.train, self.validation, self.test)
        return Splits(*(self._drawn(size, random) for size in sizes), self.classes)

    def _drawn(self, samples: int, random: torch.Generator) -> Split:
        jumps = torch.randint(4, (samples, self.features + 1), generator=random) == 0
        ids = (1 + 2 * jumps).cumsum(1) % self.classes
        return Split(ids[:, :-1].float(), ids[:, 1:])


@dataclass(frozen=True)
class RmsNormed:
    """Has norms that divide by a mean square over units, with epsilons that count."""

    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        first, second = nn.RMSNorm(width, eps=0.1), nn.RMSNorm(width)
        layers = (nn.Linear(shape[0], width), first, nn.ReLU(), nn.Linear(width, width), second)
        return nn.Sequential(*layers, nn.Linear(width, classes))


class Residual(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.one, self.norm = nn.Linear(width, inner), nn.BatchNorm1d(inner)
        self.two = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.norm(self.one(x)).relu())


@dataclass(frozen=True)
class Residuals:
    """Has residual blocks of several sizes behind each other, as wide as `hidden` inside."""

    hidden: list[int]
    batch_norm: bool = True

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        blocks = (Residual(6, inner) for inner in self.hidden)
        return nn.Sequential(nn.Linear(shape[0], 6), *blocks, nn.Linear(6, classes))
