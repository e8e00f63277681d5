"""The one way in which a part looks at a network: it comes back as it was, on every rank."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.fingerprints import fingerprint
from harness.finite import naming_broken
from harness.tensors import Batch, Loss, Mean, Tensors, everything

Compare = Callable[[dict[str, str], str], None]  # digests by name, what they are of
NAMED = 5  # of the things that a part has changed
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def alone(digests: dict[str, str], what: str) -> None:
    """Compares nothing: there is no other rank."""


@dataclass(frozen=True)
class Calibration:
    """What a saliency may look at: this rank's batches, the loss, and the mean over ranks.

    compare: of the network over ranks, after each call of the saliency.
    """

    batches: Iterable[Batch]
    loss: Loss
    mean: Mean
    compare: Compare = alone


class Reader:
    """A part that is asked about a network, which every call must leave as it was.

    compare: raises unless the digests are equal on all ranks; called after each call.
    """

    def __init__(self, part: Any, network: nn.Module, compare: Compare = alone):
        self._part, self._network, self._compare = part, network, compare
        self._before = _Condition.of(network)

    def __call__(self, call: str, *arguments: Any, **more: Any) -> Any:
        """What the part's method `call` returns.

        Raises:
            ValueError: the network is not as it was: parameters, buffers, gradients, what is
                trained, modes, hooks.
            RanksDisagree: it is not equal on all ranks.
        """
        with naming_broken(self._network):
            found = getattr(self._part, call)(*arguments, **more)
        after, name = _Condition.of(self._network), type(self._part).__name__
        # Before the error of one rank, for which the others would wait.
        self._compare(after.digests, f"the network after {call} of {name}")
        changed = list(self._before.unlike(after))
        if changed:
            more_of_it = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
            raise ValueError(
                f"{name} left the network changed by its {call}: {', '.join(changed[:NAMED])}"
                f"{more_of_it}; a part that looks at the network must leave it as it was: work on "
                "copies, or undo what you do"
            )
        return found


@dataclass(frozen=True)
class _Condition:
    """All of a network that looking at it might disturb.

    parameters: the objects themselves, which optimizers and hooks know. digests: of all parameters
    and buffers. rest: what else is said of each, in plain values.
    """

    parameters: dict[str, nn.Parameter]
    digests: dict[str, str]
    rest: dict[str, object]

    @classmethod
    def of(cls, network: nn.Module) -> "_Condition":
        parameters = dict(network.named_parameters())
        grads: Tensors = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        gradients = fingerprint(grads)
        rest: dict[str, object] = {}
        for name, parameter in parameters.items():
            rest[f"gradient of {name}"] = gradients.get(name)
            rest[f"requires_grad of {name}"] = parameter.requires_grad
            rest[f"hooks of {name}"] = _count(parameter, "_backward_hooks")
        for name, module in network.named_modules():
            shown = name or type(network).__name__
            rest[f"mode of {shown}"] = module.training
            rest[f"hooks of module {shown}"] = [_count(module, hooks) for hooks in _HOOKS]
        return cls(parameters, fingerprint(everything(network)), rest)

    def unlike(self, after: "_Condition") -> Iterator[str]:
        """What is not the same afterwards; buffers that a forward has made for itself are."""
        for name, parameter in self.parameters.items():
            if after.parameters.get(name) is not parameter:
                yield f"{name} (another parameter)"
        for name in after.parameters.keys() - self.parameters.keys():
            yield f"{name} (new)"
        for name, digest in self.digests.items():
            if after.digests.get(name) != digest:
                yield f"values of {name}"
        for what, value in self.rest.items():
            if after.rest.get(what) != value:
                yield what


def _count(owner: Tensor | nn.Module, hooks: str) -> int:
    return len(getattr(owner, hooks) or ())
