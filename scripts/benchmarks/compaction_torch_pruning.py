"""Removes half of one network by torch-pruning's own pruner, and compares it with the masked one.

The pruner is a black box: which entries are left is recovered from their values, all of which
differ. The network that is masked accordingly must compute the same.
"""

import copy
import json
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.compaction_networks import CLASSES, build
from benchmarks.compaction_program import SAMPLES, outputs, randomise, relative_error
from harness.groups.layers.norms import treatment
from harness.groups.living import living_norms
from harness.vocabulary.nested import iter_tensors

Row = dict[str, Any]
FUSED = ("qkv", "qkv_proj")
SEPARATE = (
    *("query", "key", "value", "q", "k", "v", "q_lin", "k_lin", "v_lin"),
    *("q_proj", "k_proj", "v_proj", "query_proj", "key_proj", "value_proj"),
)
HEADS = ("num_heads", "num_attention_heads", "n_heads")


def measured(library: str, name: str) -> Row:
    """Returns the outcome at half of the units, and the parameters that are left."""
    torch.manual_seed(0)
    model, batches = build(library, name)
    model = different(randomise(model.double())).eval()
    inputs = batches(SAMPLES, torch.Generator().manual_seed(1))
    row: Row = {"library": library, "network": name}
    try:
        small = pruned(copy.deepcopy(model), inputs)
    except Exception as error:
        return row | _failed("crashed", error)
    left, dense = (sum(p.numel() for p in m.parameters()) for m in (small, model))
    row["ratio"] = dense / left
    batch = batches(SAMPLES, torch.Generator().manual_seed(4))
    try:
        with torch.no_grad():
            found = outputs(small.eval(), batch)
    except Exception as error:
        return row | _failed("forward fails", error)
    masks, lost = recovered(model, small)
    if lost:
        return row | {"outcome": "unknown", "reason": f"{lost[0]} has values of its own"}
    error = relative_error(found, masked_outputs(model, masks, batch))
    return row | {"outcome": "equal" if error <= 1e-9 else "differs", "error": error}


@torch.no_grad()
def different(model: nn.Module) -> nn.Module:
    """Moves all parameters a little, so that no two entries are equal by chance."""
    draw = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.add_(0.001 * torch.randn(parameter.shape, generator=draw, dtype=torch.float64))
    return model


def pruned(model: nn.Module, inputs: Any) -> nn.Module:
    """Prunes as the tool's examples do: outputs ignored, heads given and set."""
    import torch_pruning as tp

    heads = dict(_heads(model))
    kinds = (nn.Linear, nn.Conv2d)
    outs = [m for m in model.modules() if isinstance(m, kinds) and len(m.weight) == CLASSES]
    pruner = tp.pruner.BasePruner(
        model, inputs, tp.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.5,
        ignored_layers=outs, num_heads=heads, prune_num_heads=True, prune_head_dims=False,
        head_pruning_ratio=0.5,
        output_transform=lambda out: sum(t.sum() for t in iter_tensors(out)),
    )  # fmt: skip
    pruner.step()
    for module in model.modules():
        _set_heads(module, pruner.num_heads)
    return model


def _heads(model: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """Yields the layers that make queries, keys and values, with their number of heads."""
    for module in model.modules():
        count = next((getattr(module, name) for name in HEADS if hasattr(module, name)), None)
        for name in (*FUSED, *SEPARATE) if isinstance(count, int) else ():
            layer = getattr(module, name, None)
            if isinstance(layer, nn.Linear):
                yield layer, count


def _set_heads(module: Any, heads: dict[nn.Module, int]) -> None:
    for name in (*FUSED, *SEPARATE):
        layer = getattr(module, name, None)
        if isinstance(layer, nn.Linear) and layer in heads:
            width = layer.out_features // (3 if name in FUSED else 1)
            now = {"attention_head_size": width // heads[layer], "all_head_size": width}
            now |= {"head_dim": width // heads[layer], "dim": width, "attn_dim": width}
            now |= dict.fromkeys(HEADS, heads[layer])
            for attribute, value in now.items():
                if isinstance(getattr(module, attribute, None), int):
                    setattr(module, attribute, value)


def recovered(model: nn.Module, small: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Returns masks of the entries that are left, and names of tensors with other values."""
    dense, masks, lost = dict(model.named_parameters()), {}, []
    for name, left in small.named_parameters():
        if name not in dense:
            lost.append(name)
        elif dense[name].shape != left.shape or not torch.equal(dense[name], left):
            ordered, places = dense[name].detach().flatten().sort()
            at = torch.searchsorted(ordered, left.detach().flatten()).clamp_max(len(ordered) - 1)
            if not torch.equal(ordered[at], left.detach().flatten()):
                lost.append(name)
            mask = torch.zeros(dense[name].numel(), dtype=torch.bool)
            mask[places[at]] = True
            masks[name] = mask.view(dense[name].shape)
    return masks, lost


@torch.no_grad()
def masked_outputs(model: nn.Module, masks: dict[str, Tensor], batch: Any) -> list[Tensor]:
    """Returns the outputs with masks; norms over the width take statistics over what is left."""
    norms = {}
    for name, module in model.named_modules():
        kept = masks.get(f"{name}.weight")
        if kept is not None and kept.dim() == 1 and treatment(module) == "living":
            norms[name] = kept.nonzero().flatten()
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
    with living_norms(model, norms):
        return outputs(model.eval(), batch)


def _failed(outcome: str, error: Exception) -> Row:
    line = (str(error).splitlines() or [""])[0]
    return {"outcome": outcome, "reason": f"{type(error).__name__}: {line}"}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(*sys.argv[1:3])))
