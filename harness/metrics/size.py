"""Computes densities and parameter counts from the weights, and checks them against masks."""

from torch import Tensor, nn

from harness.vocabulary.tensors import Tensors, prunable_weights


class PrunedWeightAlive(RuntimeError):
    """Says that a weight is not 0 although its mask says that it is pruned."""


def nonzero_fraction(weights: Tensors) -> float:
    """Returns the fraction of all weights together that are not 0, in [0, 1].

    Raises:
        ValueError: there are no weights.
    """
    total = sum(weight.numel() for weight in weights.values())
    if not total:
        raise ValueError("the density of no weights is undefined; give the prunable weights")
    return sum(map(_nonzeros, weights.values())) / total


def layer_densities(weights: Tensors) -> dict[str, float]:
    """Returns the fraction of each tensor that is not 0, in [0, 1]."""
    return {name: nonzero_fraction({name: weight}) for name, weight in weights.items()}


def parameters_left(model: nn.Module, masks: Tensors) -> int:
    """Counts the parameters that the pruned model still needs; with no masks, all of them.

    A tensor without a mask counts whole, a prunable weight by its non-zeros. Another tensor with
    a mask (bias or norm of a removed unit) counts by its mask, because such a value may be 0 while
    alive: biases start there. A tensor shared by several layers counts once.

    Raises:
        PrunedWeightAlive: a value is not 0 where its mask is False.
        ValueError: a mask fits no parameter of the model.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        _check_fits(name, mask, parameters.get(name))
        _check_dead(name, mask, parameters[name].detach())
    prunable = prunable_weights(model)

    def left(name: str, parameter: Tensor) -> int:
        if name not in masks:
            return parameter.numel()
        return _nonzeros(parameter if name in prunable else masks[name])

    return sum(left(name, parameter.detach()) for name, parameter in parameters.items())


def ratio(before: int, after: int) -> float | None:
    """Returns before / after: compression of parameters, speed-up of MACs; None if 0 are left.

    >>> ratio(266_610, 26_661)
    10.0
    """
    return before / after if after else None


def _nonzeros(tensor: Tensor) -> int:
    return int(tensor.count_nonzero())


def _check_fits(name: str, mask: Tensor, parameter: Tensor | None) -> None:
    if parameter is None or parameter.shape != mask.shape:
        actual = "there is none" if parameter is None else f"it has shape {tuple(parameter.shape)}"
        raise ValueError(
            f"mask {name} of shape {tuple(mask.shape)} needs a parameter of that name and shape, "
            f"{actual}; is it of another model?"
        )


def _check_dead(name: str, mask: Tensor, parameter: Tensor) -> None:
    alive = _nonzeros(parameter[~mask])
    if alive:
        raise PrunedWeightAlive(
            f"{name}: {alive} of {_nonzeros(~mask)} pruned values are not 0; "
            "was the mask not applied after a step or a load?"
        )
