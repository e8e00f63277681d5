"""Finds the weights that connect input and output: density does not show layer collapse."""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import nn

from harness.groups.living import whole_norms
from harness.metrics.open_pass import meets_input
from harness.metrics.probe import Probe, probe
from harness.vocabulary.given.inputs import Inputs, describe_inputs, first_samples
from harness.vocabulary.tensors import Tensors, prunable_weights

# Model -> shapes and dtypes of its inputs -> connectivity of the dense model.
Known = dict[str, "Connectivity"]
_DENSE: WeakKeyDictionary[nn.Module, Known] = WeakKeyDictionary()


@dataclass(frozen=True)
class Connectivity:
    """Holds how much of a model still connects its input to its output.

    effective_density: fraction of all prunable weights that are on a path, in [0, 1]; None where
    the probe does not understand the model, for the reason in `unknown`.
    empty: prunable tensors without a non-zero weight.
    dead_units: per tensor that has any, its rows (first dimension: neurons, filters; inputs of a
    transposed convolution) without a weight on a path.
    """

    effective_density: float | None
    empty: list[str]
    dead_units: dict[str, int] | None
    unknown: str | None = None


def connectivity(model: nn.Module, sample: Inputs) -> Connectivity:
    """Returns how much of the model still connects its input to its output.

    sample: inputs, of which shape and dtype are read; any real one means float64, and integers are
    ids of 0.

    A weight that is 0 is on no path; for other weights see `connected_weights`. In the dense model
    every weight is on a path, with two exceptions: weights that meet nothing but padding, and
    weights of layers that no pass calls. The latter count as dead in every model. The probe does
    not understand a model if it finds other weights without a path in the dense one (spikes hide
    whether an input changes). Nor does it if values decide what is called (a mixture of experts)
    and it has not called all layers, nor if the model fails on its float64 weights. Its result for
    such a model does not count; without any zero weight the model counts as connected.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    weights = prunable_weights(model)
    if all(bool(weight.all()) for weight in weights.values()):
        dense = _dense(model, sample)
        return Connectivity(1.0, [], {}) if dense.unknown else dense
    empty = [name for name, weight in weights.items() if not weight.any()]
    try:
        masks = connected_weights(model, sample)
    except Exception as error:  # of whatever kind: one figure of many stops no run
        return replace(_failed(error), empty=empty)
    dense = _dense(model, sample)
    if dense.unknown:
        return replace(dense, empty=empty)
    return Connectivity(_connected_fraction(masks), empty, _dead_units(masks))


def _dense(model: nn.Module, sample: Inputs) -> Connectivity:
    """Returns the dense model's; computed once per model, as it does not depend on the weights."""
    known, key = _DENSE.setdefault(model, {}), describe_inputs(first_samples(sample, 1))
    if key not in known:
        ones = {name: torch.ones_like(weight) for name, weight in prunable_weights(model).items()}
        try:
            with whole_norms(model):
                known[key] = _of_dense(probe(model, sample, ones))
        except torch.OutOfMemoryError as error:  # the next record may have the memory
            return _failed(error)
        except Exception as error:
            known[key] = _failed(error)
    return known[key]


def _of_dense(dense: Probe) -> Connectivity:
    unknown = _reason_unknown(dense)
    if unknown:
        return Connectivity(None, [], None, unknown)
    return Connectivity(_connected_fraction(dense.masks), [], _dead_units(dense.masks))


def _failed(error: Exception) -> Connectivity:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return Connectivity(None, [], None, f"the model does not run on the probe's weights ({reason})")


def _reason_unknown(dense: Probe) -> str | None:
    """Returns what the probe misses in the dense model, or None if it misses nothing."""
    layer_calls = dense.open_pass.layer_calls
    calls = {name: layer_calls.get(id(weight), []) for name, weight in dense.stand_ins.items()}
    missed = [name for name, mask in dense.masks.items() if not calls[name] and not mask.any()]
    if missed and dense.open_pass.reads_values:
        return f"values decide what is called, and the probe has not called {_layers(missed)}"
    blind = [
        name
        for name, mask in dense.masks.items()
        if calls[name] and not mask.all()
        if bool((meets_input(dense.stand_ins[name], calls[name]) & ~mask).any())
    ]
    return f"no path is found through {_layers(blind)} of the dense model" if blind else None


def _connected_fraction(masks: Tensors) -> float:
    connected = sum(int(mask.count_nonzero()) for mask in masks.values())
    return connected / sum(mask.numel() for mask in masks.values())


def _layers(names: list[str]) -> str:
    return ", ".join(name.removesuffix(".weight") for name in names)


def _dead_units(masks: Tensors) -> dict[str, int]:
    """Returns the number of rows without a True, of each tensor that has any."""
    dead = {name: int((~mask.flatten(1).any(1)).count_nonzero()) for name, mask in masks.items()}
    return {name: count for name, count in dead.items() if count}


def connected_weights(model: nn.Module, sample: Inputs) -> Tensors:
    """Returns per prunable weight a mask, True where it lies on a path of non-zero weights.

    Forward passes of two samples find the layer inputs that change with the model's input (a
    unit that only a bias or sigmoid(0) feeds does not); a third one and its backward pass find the
    weights that such an input is multiplied by and that the output depends on. Weights are
    replaced by random positive ones where they are not 0, biases by 0; norms, dropout and
    activations pass their input on, and max-pooling gives the mean of its window: so no path is
    closed by the values of one sample. Values and gradients begin anew at every layer of the third
    pass, so that they neither vanish nor overflow in deep models.

    Embeddings count as inputs, for token ids have no gradient. A dead factor closes the paths of
    the factor it multiplies (keys of an attention without queries), unless a sigmoid made it.
    Norms and maxima that are not torch's own functions are taken as they are: a norm then ties
    its units together, a maximum passes its winner only.

    The model is left unchanged: parameters, gradients, buffers, mode of every module, also after
    an error. torch's random streams are not used.

    Raises:
        ValueError: the model has no Conv or Linear layer.
    """
    return probe(model, sample, prunable_weights(model)).masks
