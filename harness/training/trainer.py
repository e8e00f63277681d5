"""The training loop. Knows nothing of Hydra, and of pruning only the hooks it is given."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from harness.data.base import Split
from harness.distributed import Ranks
from harness.distributed.replica import no_sync
from harness.learning_rate.base import LearningRate
from harness.seeds import derive
from harness.task.base import Task
from harness.tensors import Batch
from harness.training.order import Portion, epoch_order, portions, steps_per_epoch

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class NotFinite(RuntimeError):
    """Training produced NaN or infinity."""


@dataclass(frozen=True)
class Hooks:
    """What others may do inside the loop."""

    after_backward: Callable[[], None] | None = None  # gradients averaged, unscaled, not clipped
    epoch_end: Callable[[int], None] | None = None  # number of epochs done, 1-based


@dataclass(frozen=True)
class Setting:
    """Everything that a training recipe does not decide itself."""

    split: Split
    task: Task
    ranks: Ranks
    seed: int
    level: int  # 0 is dense training; names the random streams


@dataclass(frozen=True)
class Trainer:
    """A training recipe.

    optimizer: parameters -> torch optimizer; its lr is multiplied by learning_rate's factor.
    batch_size: GLOBAL, over all ranks. accumulate: parts that a rank's share is cut into.
    autocast: null, bfloat16 or float16 (with a GradScaler). clip_norm: of live gradients.

    Raises:
        ValueError: a value is out of its range, or the optimizer refuses its arguments.
    """

    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    learning_rate: LearningRate
    epochs: int
    batch_size: int
    accumulate: int = 1
    autocast: str | None = None
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1), ("accumulate", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}")
        if self.autocast not in (None, *AUTOCAST):
            raise ValueError(f"autocast must be null, bfloat16 or float16, got {self.autocast!r}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm must be > 0 or null, got {self.clip_norm}")
        # Bad arguments of the optimizer fail here, not after minutes of training.
        self.optimizer([nn.Parameter(torch.zeros(1))])

    def check_ranks(self, ranks: Ranks) -> None:
        """Raises ValueError unless every rank gets the same share of a full global batch."""
        if self.batch_size % ranks.count:
            below = self.batch_size - self.batch_size % ranks.count
            raise ValueError(
                f"batch_size={self.batch_size} is the global batch and {ranks.count} ranks do not "
                f"divide it; use {below or ranks.count} or {below + ranks.count}"
            )

    def steps(self, samples: int, epochs: int) -> int:
        return steps_per_epoch(samples, self.batch_size) * epochs

    def fit(
        self,
        model: nn.Module,
        setting: Setting,
        hooks: Hooks,
        first_epoch: int = 0,
        stop: int | None = None,
    ) -> None:
        """Trains the model in place over epochs [first_epoch, stop), stop = all by default.

        Raises:
            NotFinite: at the end of the epoch in which loss or weights became NaN or infinite.
        """
        self.check_ranks(setting.ranks)
        last = self.epochs if stop is None else stop
        if first_epoch >= last:
            return
        loop = _Loop(self, model, setting, hooks)
        for epoch in range(first_epoch, last):
            loop.epoch(epoch)
            if hooks.epoch_end:
                hooks.epoch_end(epoch + 1)


class _Loop:
    """One call of fit: replica, optimizer and scaler."""

    def __init__(self, recipe: Trainer, model: nn.Module, setting: Setting, hooks: Hooks):
        self.recipe, self.model, self.setting, self.hooks = recipe, model, setting, hooks
        self.replica = setting.ranks.wrap(model, self._rehearse)
        self.optimizer = recipe.optimizer(model.parameters())
        self.optimizer.zero_grad(set_to_none=True)  # of whatever the caller did before
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        device = setting.ranks.device.type
        self.scaler = torch.amp.GradScaler(device) if recipe.autocast == "float16" else None

    def epoch(self, epoch: int) -> None:
        seed, level = self.setting.seed, self.setting.level
        ranks, samples = self.setting.ranks, len(self.setting.split)
        order = epoch_order(samples, seed, level, epoch).to(ranks.device)
        plan = list(portions(order, self.recipe.batch_size, ranks, self.recipe.accumulate))
        # Dropout alone differs between ranks.
        torch.manual_seed(derive(seed, "dropout", level, epoch, ranks.rank))
        self.replica.train()
        total = torch.zeros((), device=ranks.device)
        steps = steps_per_epoch(samples, self.recipe.batch_size)
        step = epoch * steps
        batches = self.setting.split.batches(portion.indices for portion in plan)
        for portion, batch in zip(plan, batches, strict=True):
            total += self._backward(portion, batch)
            if portion.last:
                self._step(self.recipe.learning_rate.factor(step, steps, self.recipe.epochs))
                step += 1
        self._check_finite(total, epoch)

    def _rehearse(self, replica: nn.Module) -> Tensor:
        few = torch.arange(min(2, len(self.setting.split)))
        inputs, labels = next(iter(self.setting.split.batches([few])))
        return self.setting.task.loss(replica(inputs), labels)

    def _backward(self, portion: Portion, batch: Batch) -> Tensor:
        inputs, labels = batch
        with self._accumulating(portion):
            with self._autocast():
                loss = self.setting.task.loss(self.replica(inputs), labels) * portion.scale
            (self.scaler.scale(loss) if self.scaler else loss).backward()
        return loss.detach()

    def _step(self, factor: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        if self.hooks.after_backward:
            self.hooks.after_backward()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        if self.scaler:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _accumulating(self, portion: Portion) -> AbstractContextManager[None]:
        if portion.last:
            return nullcontext()
        return no_sync(self.replica)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.recipe.autocast is None:
            return nullcontext()
        device = self.setting.ranks.device.type
        return torch.autocast(device, AUTOCAST[self.recipe.autocast])

    def _check_finite(self, loss: Tensor, epoch: int) -> None:
        # Summed over ranks, so that all of them leave, not only the one that saw it.
        loss = self.setting.ranks.sum(loss)
        odd = [n for n, p in self.model.named_parameters() if not p.detach().isfinite().all()]
        if odd or not loss.isfinite():
            raise NotFinite(
                f"epoch {epoch + 1} of level {self.setting.level}: loss {float(loss)} summed over "
                f"steps, not finite in {', '.join(odd) or 'no weight yet'}; "
                "lower the optimizer's lr or set clip_norm"
            )
