"""Makes a pruned model physically smaller."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.delivery.compact_folder import describe, fill, read_compact, write_compact
from harness.groups.blocks import masked_blocks, without_blocks
from harness.groups.compact import Compacted, compact_model
from harness.groups.find import groups_of
from harness.groups.proving.pair import REFUSALS, refused_input
from harness.groups.removal import Norms
from harness.groups.tracing.traceable import check_followable
from harness.model_state.usable import check_usable
from harness.pruning.prunable import first_names
from harness.pruning.removal.compaction import Cut
from harness.run_folder.outcome import COMPACT
from harness.vocabulary.checks import problem_of
from harness.vocabulary.given.example import check_example
from harness.vocabulary.given.masks import as_bool
from harness.vocabulary.tensors import Tensors


def compact(
    model: nn.Module,
    masks: dict[str, Tensor],
    example_input: Any,
    norms: Norms = "exact",
    folder: str | Path | None = None,
) -> nn.Module:
    """Returns the model without its pruned units: compact(model)(x) = (model x masks)(x).

    The result is a module of the same class with smaller tensors of the same names: it trains, is
    saved and is exported as any other. A unit (neuron, filter, attention head) goes if the masks
    are 0 on all that computes it, in each layer that must keep the same units; single pruned
    weights stay as zeros, and so do units that cannot be removed, of which it warns with the
    reason (UserWarning). The given model does not change.

    Equality is proven before the model is returned, on copies in float64 where possible: with
    random weights and with its own, in eval and train mode, random draws off, for the output of
    each layer and all buffers.

    Args:
        masks: parameter name -> tensor of its shape, True or 1 where a weight stays
        example_input: a batch of at least two inputs, or a dictionary of keyword arguments
        norms: "exact" refuses to remove units over which a LayerNorm takes its statistics; "living"
            removes them: the masked model must then take its statistics over the units left
        folder: where the result is also written, for `load_compact`; None writes nothing

    >>> import harness, torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> inputs = torch.randn(5, 4)
    >>> masks = harness.prune(model, 0.5, structure="neuron", example_input=inputs)
    >>> small = harness.compact(model, masks, inputs)
    >>> small[0].out_features, small[2].in_features
    (4, 4)
    >>> torch.allclose(small(inputs), model(inputs), atol=1e-6)
    True

    Raises:
        ValueError: the masks are of another model or leave a group of units empty, the model is a
            wrapper or scripted or refuses the example input, or the smaller model is another
            function; the first module that differs is named.
    """
    made = compact_with_proof(model, masks, example_input, norms)
    for line in _left_as_zeros(made, masks):
        warnings.warn(f"compact {line}", stacklevel=2)
    if folder is not None:
        write_compact(Path(folder), describe(model, made.model, Cut.of(made)))
    return made.model


def _left_as_zeros(made: Compacted, masks: Tensors) -> Iterator[str]:
    for name, why in made.left_whole.items():
        yield f"leaves {name} whole, its masked units as 0: {why}"
    if made.proof is None and not made.left_whole and not all(m.all() for m in masks.values()):
        yield "removes nothing: no unit is masked in all that computes it, as its bias and norm"


def load_compact(folder: str | Path, model: nn.Module) -> nn.Module:
    """Returns a copy of a dense model without its pruned units, with weights from a folder.

    The copy is in the dtype of the stored weights, on the model's device and in its mode. Only
    torch and safetensors are needed: examples/read_compact.py does the same without the harness.

    Args:
        folder: the folder of a run that compacted, its folder compact/, or one that
            `harness.compact` wrote
        model: built as the model that was compacted, in its dense shapes; it does not change

    Raises:
        ValueError: the folder holds no compacted model, it is damaged, or the model has no values
            or is another one; the first tensor or attribute that differs is named.
    """
    check_usable(model)
    inner = (Path(folder) / COMPACT[0]).parent
    return fill(model, read_compact(inner if inner.is_dir() else Path(folder)))


@torch.inference_mode(False)  # its tensors could not be trained, and operators are not seen
def compact_with_proof(
    model: nn.Module, masks: dict[str, Tensor], example_input: Any, norms: Norms = "exact"
) -> Compacted:
    """Returns what `compact` returns, with the kept indices, adapted attributes and errors.

    Raises:
        ValueError: as of `compact`.
    """
    check_usable(model)
    check_followable(model)
    check_example(example_input)
    if problem := problem_of(norms, Norms):
        raise ValueError(f"norms {problem}")
    given = first_names(model, as_bool(masks))
    _check_shapes(model, given)
    try:
        blocks = masked_blocks(model, given, example_input)
        groups = groups_of(without_blocks(model, blocks), example_input)
    except REFUSALS as error:
        raise ValueError(refused_input(model, error)) from error
    return compact_model(model, given, groups, example_input, norms, blocks)


def _check_shapes(model: nn.Module, masks: Tensors) -> None:
    for name, mask in masks.items():
        shape = tuple(model.get_parameter(name).shape)
        if mask.shape != shape:
            raise ValueError(
                f"masks[{name!r}] has shape {tuple(mask.shape)}, its parameter {shape}; give the "
                "masks of this model in its dense shapes"
            )
