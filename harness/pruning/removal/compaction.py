"""Cuts pruned units out of a model, with a proof, and expands it again to the dense shapes.

Prunings, schedules and records use the names and shapes of the dense model. An entry that was
removed counts there as pruned, and is 0.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.groups.attributes import Attributes, adapt
from harness.groups.blocks import masked_blocks, without_blocks
from harness.groups.compact import Compacted, compact_model
from harness.groups.find import groups_of
from harness.groups.group import KeptIndices
from harness.groups.layers.norms import add_scales, remove_scales, rescaled
from harness.groups.removal import Norms, copy_model, slice_model, slice_tensor
from harness.model_state.whole_state import load_into, whole_state
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import Tensors

Compare = Callable[[Tensors, str], None]  # tensors by name, what they are


@dataclass(frozen=True)
class Cut:
    """Says how a smaller model differs from the dense one.

    Args:
        kept_indices: name of a tensor -> for each dimension the indices that are left.
        attributes: "module.attribute" -> (value in the dense model, value in the smaller one).
        proof: errors of the proof, as plain values; None if nothing was removed.
        scales: parameter of an RMSNorm or of a layer of queries -> the factor by which the layer
            multiplies its output; the parameter is that of the dense model.
        blocks: modules of the dense model in whose place is nn.Identity.
    """

    kept_indices: KeptIndices
    attributes: Attributes
    proof: dict[str, Any] | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.kept_indices and not self.blocks

    @classmethod
    def of(cls, made: Compacted) -> "Cut":
        """Returns how the model that was made differs; its weights are multiplied by the scales."""
        proof = asdict(made.proof) if made.proof else None
        return cls(made.kept_indices, made.attributes, proof, blocks=made.blocks)

    @classmethod
    def to_train(cls, made: Compacted) -> "Cut":
        """Returns how a model differs that trains as the masked one does, weights included."""
        return replace(cls.of(made), scales=made.scales)

    @classmethod
    def load(cls, state: dict[str, Any]) -> "Cut":
        kept_indices = {
            name: tuple(None if left is None else torch.tensor(left) for left in dims)
            for name, dims in state["kept_indices"].items()
        }
        attributes = {name: (old, new) for name, (old, new) in state["attributes"].items()}
        scales, blocks = state.get("scales", {}), tuple(state.get("blocks", ()))
        return cls(kept_indices, attributes, state["proof"], scales, blocks)

    def state_dict(self) -> dict[str, Any]:
        """Returns plain values, which a checkpoint and a file of tensors hold."""
        kept_indices = {
            name: [None if left is None else left.tolist() for left in dims]
            for name, dims in self.kept_indices.items()
        }
        attributes = {name: list(values) for name, values in self.attributes.items()}
        state = {"kept_indices": kept_indices, "attributes": attributes, "proof": self.proof}
        more = {"scales": dict(self.scales), "blocks": list(self.blocks)}
        return state | {name: value for name, value in more.items() if value}

    def slice(self, dense: Tensors) -> Tensors:
        """Returns tensors or masks in the smaller shapes, without those of removed blocks."""
        left = {name: t for name, t in dense.items() if not self.removes(name)}
        return slice_tensors(left, self.kept_indices)

    def removes(self, name: str) -> bool:
        """Returns True if a parameter or buffer is in a removed block."""
        return any(name.startswith(f"{block}.") for block in self.blocks)

    def apply(self, dense: nn.Module) -> nn.Module:
        """Returns the dense model without what was removed; its values are the kept ones."""
        smaller = slice_model(without_blocks(dense, self.blocks), self.kept_indices)
        adapt(smaller, self.attributes)
        add_scales(smaller, self.scales)
        return smaller

    def without_scales(self, trained: nn.Module) -> tuple[nn.Module, "Cut"]:
        """Returns a copy whose weights are multiplied by the scales, and how it differs then."""

        def folded(name: str, tensor: Tensor) -> Tensor:
            scale = self.scales.get(name)
            return tensor.clone() if scale is None else rescaled(tensor, scale)

        model = copy_model(trained, folded) if self.scales else trained
        remove_scales(model, self.scales)
        return model, replace(self, scales={})


WHOLE = Cut({}, {})


def without_pruned_units(
    model: nn.Module, masks: Tensors, sample: Inputs, compare: Compare, norms: Norms = "exact"
) -> Compacted:
    """Returns the model without its pruned units, proven equal to the masked one.

    Every rank removes and proves for itself.

    Args:
        model: in dense shapes.
        masks: in force, by parameter.
        sample: inputs (2, ...) to trace and compare models with.
        compare: raises unless tensors are equal on all ranks.
        norms: as of `remove`.

    Raises:
        ValueError: the smaller model computes another function; names the module.
        RanksDisagree: another rank removes other entries.
    """
    blocks = masked_blocks(model, masks, sample)
    groups = groups_of(without_blocks(model, blocks), sample)
    made = compact_model(model, masks, groups, sample, norms, blocks)
    compare(_removed_of(made), "what is removed of the model")
    _log(model, made)
    return made


def _removed_of(made: Compacted) -> Tensors:
    """Returns the kept indices of each dimension, and a number for each removed block."""
    indices = {
        f"{name}, {dim}": left
        for name, dims in made.kept_indices.items()
        for dim, left in enumerate(dims)
        if left is not None
    }
    return indices | {f"the block {name}": torch.zeros(1) for name in made.blocks}


def _log(model: nn.Module, made: Compacted) -> None:
    dense, left = (sum(p.numel() for p in each.parameters()) for each in (model, made.model))
    if made.proof is None:
        logging.getLogger(__name__).info("compact: no unit is pruned in all its members")
        return
    logging.getLogger(__name__).info(
        "compact: %d of %d parameters are left; masked and smaller model differ by %.0e",
        left, dense, made.proof.worst,
    )  # fmt: skip


def slice_tensors(values: Tensors, kept_indices: KeptIndices) -> Tensors:
    """Returns the entries at the kept indices of tensors in dense shapes."""
    return {name: slice_tensor(value, kept_indices.get(name, ())) for name, value in values.items()}


def scatter_tensors(values: Tensors, kept_indices: KeptIndices, onto: Tensors) -> Tensors:
    """Returns tensors in dense shapes, with the entries of `onto` where entries were removed.

    This is the inverse of `slice_tensors`.

    >>> kept = {"w": (torch.tensor([1]), torch.tensor([0, 2]))}
    >>> small = slice_tensors({"w": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])}, kept)
    >>> small["w"].tolist(), scatter_tensors(small, kept, {"w": torch.zeros(2, 3)})["w"].tolist()
    ([[4.0, 6.0]], [[0.0, 0.0, 0.0], [4.0, 0.0, 6.0]])
    """
    spread_values = {}
    for name, value in values.items():
        spread_values[name] = value
        if name in kept_indices:
            spread_values[name] = onto[name].clone()
            spread_values[name][_index(onto[name].shape, kept_indices[name])] = value
    return spread_values


def expand_model(dense: nn.Module, model: nn.Module, cut: Cut) -> nn.Module:
    """Returns the model in dense shapes, with 0 where parameters were removed.

    dense: a new model, which is filled and returned.
    """
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name in cut.kept_indices or cut.removes(name):
                parameter.zero_()
    before = whole_state(dense)
    gone = {name: value for name, value in before.items() if cut.removes(name)}
    left = scatter_tensors(whole_state(model), cut.kept_indices, before)
    load_into(dense, {**left, **gone})
    return dense


def expand_masks(masks: Tensors, cut: Cut, dense: Tensors) -> Tensors:
    """Returns masks in dense shapes, of all masked tensors and of all tensors with removed entries.

    masks: in the shapes of the smaller model. dense: parameters in dense shapes, by name.
    """
    kept_indices, removed = cut.kept_indices, [name for name in dense if cut.removes(name)]
    none = {
        name: torch.zeros_like(dense[name], dtype=torch.bool)
        for name in (*kept_indices, *removed)
        if name in dense
    }
    ones = {
        name: none[name].new_ones(()).expand(_sizes(none[name], kept_indices[name]))
        for name in none
        if name in kept_indices
    }
    return {**none, **scatter_tensors({**ones, **masks}, kept_indices, none)}


def _sizes(tensor: Tensor, kept_indices: tuple[Tensor | None, ...]) -> list[int]:
    return [n if i is None else len(i) for n, i in zip(tensor.shape, kept_indices, strict=True)]


def _index(shape: torch.Size, kept_indices: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """Returns one broadcastable index per dimension, which picks the kept entries of a tensor."""
    indices = [
        torch.arange(n) if i is None else i for n, i in zip(shape, kept_indices, strict=False)
    ]
    ends = [[1] * (len(indices) - dim - 1) for dim in range(len(indices))]
    return tuple(index.view(-1, *end) for index, end in zip(indices, ends, strict=True))
