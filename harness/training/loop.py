"""One training under way, step by step; its whole state can be saved and taken up again."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.distributed.exchange import Exchange
from harness.distributed.link import choose
from harness.distributed.replica import no_sync
from harness.draws import uniforms
from harness.seeds import derive
from harness.tensors import Batch, load_into
from harness.training.order import Portion, epoch_order, portions, steps_per_epoch
from harness.training.setting import Hooks, LoopState, Setting

if TYPE_CHECKING:
    from harness.training.trainer import Trainer

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class NotFinite(RuntimeError):
    """Training produced NaN or infinity."""


class Loop:
    """Replica, optimizer and scaler of one training, and how far it is.

    epoch: whole epochs done, counted from the recipe's beginning; step: steps of the next one.
    """

    def __init__(
        self,
        recipe: "Trainer",
        model: nn.Module,
        setting: Setting,
        hooks: Hooks,
        epoch: int,
        resumed: LoopState | None,
    ):
        self.recipe, self.model, self.setting, self.hooks = recipe, model, setting, hooks
        if resumed:
            load_into(model, resumed["model"])
        self.exchange = self._exchange(resumed)
        self.replica = setting.ranks.wrap(model, self._rehearse, self.exchange, hooks.live)
        self.optimizer = recipe.optimizer(model.parameters())
        self.optimizer.zero_grad(set_to_none=True)  # of whatever the caller did before
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        device = setting.ranks.device
        self.scaler = torch.amp.GradScaler(device.type) if recipe.autocast == "float16" else None
        self.epoch, self.step = epoch, 0
        self.own: dict[str, Any] | None = None  # of this rank, until the epoch is taken up
        self.total = torch.zeros((), device=device)
        if resumed:
            self._take_up(resumed)

    def state(self) -> LoopState:
        """All that the steps to come depend on; every rank must ask for it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "sparse": self.exchange.sparse,
            # What differs between ranks inside an epoch; the next one begins alike on all.
            "own": self.setting.ranks.gather(self._own()) if self.step else None,
        }

    def run_epoch(self) -> None:
        """
        Raises:
            NotFinite: at its end, if loss or weights became NaN or infinite.
        """
        ranks, samples = self.setting.ranks, len(self.setting.split)
        order = epoch_order(samples, self.setting.seed, self.setting.level, self.epoch)
        every = portions(
            order.to(ranks.device), self.recipe.batch_size, ranks, self.recipe.accumulate
        )
        steps = steps_per_epoch(samples, self.recipe.batch_size)
        plan = _after(self.step, list(every))
        self._begin_streams()
        self.replica.train()
        batches = self.setting.split.batches(portion.indices for portion in plan)
        for portion, batch in zip(plan, batches, strict=True):
            self.total += self._backward(portion, batch)
            if portion.last:
                self._update(steps)
                ranks.alive()
                self.step += 1
                self._save_if_due(steps)
        self._check_finite()
        # So that no measurement on the way decides what a network with such buffers learns.
        ranks.send(list(self.model.buffers()))
        self.epoch, self.step = self.epoch + 1, 0
        self.total.zero_()

    def save(self) -> None:
        if self.hooks.saver:
            self.hooks.saver.save(self.epoch, self.step, self.state)

    def _save_if_due(self, steps: int) -> None:
        # Not after the last step: the epoch's end is saved in any case.
        saver = self.hooks.saver
        if saver and self.step < steps and saver.due(self.step):
            self.save()

    def _exchange(self, resumed: LoopState | None) -> Exchange:
        ranks, dtype = self.setting.ranks, self.setting.gradient_dtype
        if resumed:
            # Measured again, the link might suggest another one, with other last bits.
            return Exchange(resumed["sparse"], dtype)
        return choose(ranks, self.model, self.hooks.live, dtype)

    def _take_up(self, state: LoopState) -> None:
        self.epoch, self.step = state["epoch"], state["step"]
        self.own = state["own"] and state["own"][self.setting.ranks.rank]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler:
            self.scaler.load_state_dict(state["scaler"])

    def _begin_streams(self) -> None:
        # Dropout alone differs between ranks.
        ranks = self.setting.ranks
        torch.manual_seed(
            derive(self.setting.seed, "dropout", self.setting.level, self.epoch, ranks.rank)
        )
        if self.own is not None:
            self._take_up_own(self.own)
            self.own = None

    def _own(self) -> dict[str, Any]:
        device = self.setting.ranks.device
        return {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
            "loss": self.total.cpu(),
            "buffers": [buffer.cpu() for buffer in self.model.buffers()],
        }

    def _take_up_own(self, own: dict[str, Any]) -> None:
        torch.set_rng_state(own["cpu"])
        if own["cuda"] is not None:
            torch.cuda.set_rng_state(own["cuda"], self.setting.ranks.device)
        self.total.copy_(own["loss"])
        for buffer, saved in zip(self.model.buffers(), own["buffers"], strict=True):
            buffer.copy_(saved)

    def _rehearse(self, replica: nn.Module) -> Tensor:
        few = torch.arange(min(2, len(self.setting.split)))
        inputs, labels = next(iter(self.setting.split.batches([few])))
        return self.setting.task.loss(replica(inputs), labels)

    def _backward(self, portion: Portion, batch: Batch) -> Tensor:
        inputs, labels = self._augmented(portion, batch[0]), batch[1]
        with self._accumulating(portion):
            with self._autocast():
                loss = self.setting.task.loss(self.replica(inputs), labels) * portion.scale
            if portion.last:
                self.setting.ranks.alive()  # The others may wait in the all-reduce by now.
            (self.scaler.scale(loss) if self.scaler else loss).backward()
        return loss.detach()

    def _augmented(self, portion: Portion, inputs: Tensor) -> Tensor:
        augmentation = self.recipe.augmentation
        if augmentation is None:
            return inputs
        seed = derive(self.setting.seed, "augmentation", self.setting.level, self.epoch)
        indices = portion.indices.to(inputs.device)
        return augmentation.apply(inputs, uniforms(seed, indices, augmentation.draws))

    def _update(self, steps: int) -> None:
        step = self.epoch * steps + self.step
        factor = self.recipe.learning_rate.factor(step, steps, self.recipe.epochs)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        if self.scaler:
            self._drop_pruned()
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

    def _drop_pruned(self) -> None:
        """Else an overflow in a gradient that nobody uses would skip the step."""
        for name, mask in self.hooks.live().items() if self.hooks.live else ():
            gradient = self.model.get_parameter(name).grad
            if gradient is not None:
                gradient.masked_fill_(~mask, 0)

    def _accumulating(self, portion: Portion) -> AbstractContextManager[None]:
        return nullcontext() if portion.last else no_sync(self.replica)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.recipe.autocast is None:
            return nullcontext()
        device = self.setting.ranks.device.type
        return torch.autocast(device, AUTOCAST[self.recipe.autocast])

    def _check_finite(self) -> None:
        # Summed over ranks, so that all of them leave, not only the one that saw it.
        loss = self.setting.ranks.sum(self.total)
        odd = [n for n, p in self.model.named_parameters() if not p.detach().isfinite().all()]
        if odd or not loss.isfinite():
            raise NotFinite(
                f"epoch {self.epoch + 1} of level {self.setting.level}: loss {float(loss)} summed "
                f"over steps, not finite in {', '.join(odd) or 'no weight yet'}; "
                "lower the optimizer's lr or set clip_norm"
            )


def _after(steps: int, plan: list[Portion]) -> list[Portion]:
    """What is left of an epoch after so many optimizer steps."""
    ends = [number for number, portion in enumerate(plan, start=1) if portion.last]
    return plan[ends[steps - 1] :] if steps else plan
