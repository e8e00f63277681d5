"""Removes units of one network, proves the result, and writes what came of it as a line of JSON."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.compaction_networks import Batches, build
from harness.groups.compact import Compacted, compact_model
from harness.groups.find import groups_of
from harness.groups.group import Group, group_masks
from harness.groups.layers.norms import treatment
from harness.groups.living import living_indices, living_norms
from harness.vocabulary.given.inputs import call_model
from harness.vocabulary.nested import iter_tensors
from harness.vocabulary.tensors import Tensors

SAMPLES = 2
LOW, HIGH = 0.3, 0.6  # uneven shares of the units of a group
Kept = dict[str, Tensor]


def measured(library: str, name: str) -> dict[str, Any]:
    """Returns the row of one network: what became of it at half, at uneven shares and whole."""
    torch.manual_seed(0)
    model, batches = build(library, name)
    model = randomise(model.double()).eval()
    row: dict[str, Any] = {"network": name, "library": library}
    row["parameters"] = parameters = sum(p.numel() for p in model.parameters())
    inputs = batches(SAMPLES, torch.Generator().manual_seed(1))
    since = time.perf_counter()
    try:
        groups = groups_of(model, inputs)
    except Exception as error:
        return row | {part: _failed(error) for part in ("half", "uneven", "whole")}
    row["groups_s"] = time.perf_counter() - since
    row["groups"] = len(groups)
    widths = {group.name: width(group) for group in groups}
    row["pinned"] = sum(widths[g.name] for g in groups if g.pinned) / sum(widths.values())
    row["why_pinned"] = _reasons(groups)
    row["living"] = any(
        treatment(model.get_submodule(norm)) == "living"
        for group in groups
        for norm in group.mixing
        if not group.pinned
    )
    draw = torch.Generator().manual_seed(2)
    wishes: dict[str, Callable[[], float]] = {
        "half": lambda: 0.5,
        "uneven": lambda: LOW + (HIGH - LOW) * float(torch.rand((), generator=draw)),
        "whole": lambda: 0.0,
    }
    for part, share in wishes.items():
        row[part] = attempt(model, groups, chosen(model, groups, share), inputs, batches)
        row[part]["ratio"] = parameters / row[part].pop("left", parameters)
    return row


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Moves all parameters by 0.02 N(0, 1), and gives norms random statistics."""
    draw = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=draw).to(parameter))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.add_(0.3 * torch.randn(buffer.shape, generator=draw).to(buffer))
        elif name.endswith("running_var"):
            buffer.mul_(0.5 + torch.rand(buffer.shape, generator=draw).to(buffer))
    return model


def chosen(model: nn.Module, groups: Sequence[Group], share: Callable[[], float]) -> Kept:
    """Returns the units of the free groups that stay; a share of those of the smallest L2 goes."""
    parameters = dict(model.named_parameters())
    kept = {}
    for group in groups:
        removed = 0 if group.pinned else min(int(share() * group.units), group.units - 1)
        kept[group.name] = torch.ones(group.units, dtype=torch.bool)
        kept[group.name][squares(group, parameters).argsort()[:removed]] = False
    return kept


def width(group: Group) -> int:
    """Returns how many rows, such as filters, compute the units in their first weight."""
    return next(m.indices.numel() for m in group.members if m.role == "output")


@torch.no_grad()
def squares(group: Group, parameters: Tensors) -> Tensor:
    """Returns for each unit the sum of squares of all entries that it owns: (units,)."""
    total = torch.zeros(group.units, dtype=torch.float64)
    for member in group.members:
        if member.name in parameters:
            slices = parameters[member.name].square().movedim(member.dim, 0)
            total += slices.reshape(len(slices), -1).sum(1)[member.indices].sum(1)
    return total


def attempt(
    model: nn.Module, groups: Sequence[Group], kept: Kept, inputs: Any, batches: Batches
) -> dict[str, Any]:
    """Returns the outcome of one compaction, and how many parameters are left."""
    masks = group_masks(groups, kept, dict(model.named_parameters()))
    since = time.perf_counter()
    try:
        compacted = compact_model(model, masks, groups, inputs, norms="living")
    except Exception as error:
        return _failed(error) | {"seconds": time.perf_counter() - since}
    seconds = time.perf_counter() - since
    free = [group for group in groups if not group.pinned]
    batch = batches(SAMPLES, torch.Generator().manual_seed(4))
    found = checked(model, masks, compacted, free, kept, batch)
    narrow = compacted.proof is not None and compacted.proof.tolerance > 1e-9
    equal = found <= (1e-4 if narrow else 1e-9)
    left = sum(p.numel() for p in compacted.model.parameters())
    return {
        "outcome": "equal" if equal else "differs", "error": found, "left": left,
        "seconds": seconds, "attributes": len(compacted.attributes),
    }  # fmt: skip


@torch.no_grad()
def checked(
    model: nn.Module,
    masks: Tensors,
    compacted: Compacted,
    groups: Sequence[Group],
    kept: Kept,
    batch: Any,
) -> float:
    """Returns max|small - masked| / max|masked| of the outputs, apart from the proof."""
    small = outputs(compacted.model.eval(), batch)
    own = {name: model.get_parameter(name).clone() for name in masks}
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
    norms = living_indices(model, compacted.kept_indices, groups, kept)
    with living_norms(model, norms):
        masked = outputs(model.eval(), batch)
    for name, values in own.items():
        model.get_parameter(name).copy_(values)
    return relative_error(small, masked)


def relative_error(small: Sequence[Tensor], masked: Sequence[Tensor]) -> float:
    pairs = list(zip(small, masked, strict=True))
    return max((float((a - b).abs().max() / b.abs().max()) for a, b in pairs), default=float("inf"))


def outputs(model: nn.Module, batch: Any) -> list[Tensor]:
    output = call_model(model, batch)
    return list(iter_tensors(output)) or list(iter_tensors(getattr(output, "__dict__", {})))


def _reasons(groups: Sequence[Group]) -> dict[str, int]:
    """Returns reason -> pinned rows, the most frequent first; names of modules are left out."""
    reasons: dict[str, int] = {}
    for group in groups:
        if group.pinned:
            reason = group.pinned.partition(" in ")[0]
            reasons[reason] = reasons.get(reason, 0) + width(group)
    return dict(sorted(reasons.items(), key=lambda item: -item[1]))


def _failed(error: Exception) -> dict[str, Any]:
    kind = "refused" if isinstance(error, ValueError) else "crashed"
    line = (str(error).splitlines() or [""])[0]
    if kind == "crashed":
        traceback.print_exc()
        line = f"{type(error).__name__}: {line}"
    return {"outcome": kind, "reason": line}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(*sys.argv[1:3])))
