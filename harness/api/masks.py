"""Keeps the masks of a model in a training loop of one's own."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from harness.pruning.masks import MaskStore
from harness.vocabulary.given.masks import as_bool


class Masks:
    """w = w x mask after every step, whatever the optimizer: pruned weights stay exactly 0.

    The gradient of a pruned weight is 0 from the backward pass on, so that SAM, LBFGS and
    clipping by norm never see it. After each step, pruned weights and their entries in the
    optimizer's state are set to 0: Muon, noise and centred gradients would move them. Gradients
    may be scaled by `torch.amp.GradScaler`; a step that it leaves out changes nothing.

    Call `attach` where the optimizer is made, on every rank of a DDP training, with the module
    inside the wrapper.

    Args:
        model: the module itself, without DDP's or torch.compile's wrapper
        masks: parameter name -> tensor of its shape, True or 1 where a weight stays, as
            `harness.prune` returns them

    Raises:
        ValueError: a mask has an unknown name, another shape, or a value other than 0 and 1.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]):
        self._model = model
        named = dict(model.named_parameters(remove_duplicate=False))
        dense = {name: named[name] for name in masks if name in named}
        self._store = MaskStore(dense, may_grow=True)
        self._optimizers: list[Optimizer] = []
        self._handles: list[RemovableHandle] = []
        self.replace(masks)

    def __getitem__(self, name: str) -> Tensor:
        """Returns the mask of this parameter, bool."""
        return self._store.masks[name]

    def replace(self, masks: Mapping[str, Tensor]) -> None:
        """Replaces masks, of all parameters or of some; a revived weight begins at 0.

        Raises:
            ValueError: as at construction.
        """
        self._store.replace(as_bool(masks))
        self.apply()

    def apply(self) -> None:
        """Sets pruned weights to 0, their gradients, and their entries in optimizers' states."""
        self._store.apply_to(self._model)
        for optimizer in self._optimizers:
            self._store.apply_to(self._model, optimizer)
        for name, mask in self._store.masks.items():
            gradient = self._model.get_parameter(name).grad
            if gradient is not None:
                gradient.detach().masked_fill_(~mask, 0)

    def attach(self, optimizer: Optimizer) -> "Masks":
        """Keeps the masks at each `optimizer.step()` until `detach`; returns itself.

        An optimizer that holds others (SAM, Lookahead, those of accelerate) is attached with
        what it holds.

        Raises:
            ValueError: the optimizer has none of the masked parameters.
        """
        inner = list(_optimizers(optimizer))
        known = {id(p) for o in inner for group in o.param_groups for p in group["params"]}
        masked = [self._model.get_parameter(name) for name in self._store.masks]
        if not any(id(parameter) in known for parameter in masked):
            raise ValueError(
                f"{type(optimizer).__name__} has none of the masked parameters; make it of "
                f"model.parameters() of the same {type(self._model).__name__}"
            )
        if not self._handles:
            self._handles += self._gradient_hooks()
        self._handles += [one.register_step_post_hook(self._after_step) for one in inner]
        self._optimizers += inner
        self.apply()  # gradients may have been accumulated before
        return self

    def detach(self) -> None:
        """Removes every hook; the weights stay as they are."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._optimizers.clear()

    def _gradient_hooks(self) -> Iterator[RemovableHandle]:
        for name in self._store.masks:
            parameter = self._model.get_parameter(name)
            if parameter.requires_grad:
                yield parameter.register_hook(partial(self._masked, name))

    def _masked(self, name: str, gradient: Tensor) -> Tensor:
        # Not a product: a scaled gradient may be infinite, and 0 x inf is NaN.
        return gradient.masked_fill(~self[name], 0)

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        self._store.apply_to(self._model, optimizer)


def _optimizers(holder: Any, seen: frozenset[int] = frozenset()) -> Iterator[Optimizer]:
    """Yields an optimizer and those in its attributes; not a wrapper that has no hooks."""
    if hasattr(holder, "_optimizer_step_post_hooks"):
        yield holder
    for value in vars(holder).values():
        if isinstance(value, Optimizer) and id(value) not in seen | {id(holder)}:
            yield from _optimizers(value, seen | {id(holder)})
