"""Gives rules to products that sum over a dimension: matrix products and attention."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from harness.groups.ids import Ids
from harness.groups.operators.call import Call, Rules
from harness.groups.tracing.labels import Axis
from harness.groups.tracing.trace import Trace

NONZERO = "it is not 0 where it is removed, nor is what it is multiplied with"
FIXED = "it meets a side of a product that has a fixed size"


def contract(
    trace: Trace, one: Ids | None, other: Ids | None, factors: tuple[Tensor, Tensor]
) -> None:
    """Joins the ids of the two dimensions over which a product sums.

    A removed unit adds nothing to the sum if one of the factors is 0 there.
    """
    both = [ids for ids in (one, other) if ids is not None]
    for ids in both:
        trace.table.read(ids)
    trace.tie(one, other, FIXED)
    if not any(map(trace.labels.is_zero, factors)):
        trace.pin(both, NONZERO)


def attend(trace: Trace, heads: Iterable[Ids | None], widths: Iterable[Ids | None]) -> None:
    """Marks units for each of which a product of activations is taken, and those inside it."""
    for ids in heads:
        if ids is not None:
            trace.table.attend(ids, "head")
    for ids in widths:
        if ids is not None:
            trace.table.attend(ids, "width")


def multiply(trace: Trace, left: Tensor, right: Tensor, out: Tensor) -> None:
    """Follows left (..., n, k) times right (..., k, m)."""
    a, b = trace.labels.single(left), trace.labels.single(right)
    last = out.dim() - 1
    if not trace.labels.is_parameter(left) and not trace.labels.is_parameter(right):
        sides = a.get(left.dim() - 1), b.get(right.dim() - 2), a.get(last - 1), b.get(last)
        attend(trace, [*map(a.get, range(last - 1)), *map(b.get, range(last - 1))], sides)
        batch = [a.get(dim, b.get(dim)) for dim in range(last - 1)]
        summed = a.get(left.dim() - 1, b.get(right.dim() - 2))
        trace.cost((*out.shape, left.shape[-1]), (*batch, a.get(last - 1), b.get(last), summed))
    contract(trace, a.get(left.dim() - 1), b.get(right.dim() - 2), (left, right))
    axes = []
    for dim in range(last - 1):
        trace.tie(a.get(dim), b.get(dim), FIXED)
        axes += [Axis((dim,), a[dim])] if dim in a else []
    if last - 1 in a:
        axes.append(Axis((last - 1,), a[last - 1]))
    if last in b:
        axes.append(Axis((last,), b[last]))
        trace.table.make(b[last])
    trace.labels.put(out, axes)


def matrix_product(trace: Trace, call: Call) -> None:
    multiply(trace, call["self"], call.get("mat2", "batch2"), call.out)


def add_matrix_product(trace: Trace, call: Call) -> None:
    left, right = call.get("mat1", "batch1"), call.get("mat2", "batch2")
    multiply(trace, left, right, call.out)
    bias, made = trace.labels.single(call["self"]), trace.labels.single(call.out)
    before = call.out.dim() - call["self"].dim()
    for dim in range(before, call.out.dim()):
        if dim - before in bias or (dim in made and call["self"].shape[dim - before] > 1):
            trace.tie(made.get(dim), bias.get(dim - before), FIXED)


def linear(trace: Trace, call: Call) -> None:
    weight, inputs = trace.labels.single(call["weight"]), trace.labels.single(call["input"])
    last = call["input"].dim() - 1
    contract(trace, inputs.pop(last, None), weight.get(1), (call["input"], call["weight"]))
    rows = weight.get(0)
    axes = [Axis((dim,), ids) for dim, ids in inputs.items()]
    if rows is not None:
        trace.table.make(rows)
        axes.append(Axis((call.out.dim() - 1,), rows))
    if call["bias"] is not None:
        trace.tie(rows, trace.labels.single(call["bias"]).get(0), FIXED)
    trace.labels.put(call.out, axes)


def attention(trace: Trace, call: Call) -> None:
    """Follows query, key, value (samples, heads, positions, width) to the weighted values.

    Where fewer key and value heads than query heads are given, each serves a block of them.
    """
    query, key, value = (trace.labels.single(call[name]) for name in ("query", "key", "value"))
    _serve(trace, query.get(1), key.get(1))
    trace.tie(key.get(1), value.get(1), FIXED)
    parts = query, key, value
    attend(trace, [part.get(1) for part in parts], [part.get(3) for part in parts])
    pairs = (*call["query"].shape[:3], call["key"].shape[2])
    for name, width in (("query", query.get(3, key.get(3))), ("value", value.get(3))):
        trace.cost((*pairs, call[name].shape[3]), (None, query.get(1), None, None, width))
    contract(trace, query.get(3), key.get(3), (call["query"], call["key"]))
    for part in parts:
        trace.pin([part[2]] if 2 in part else [], "it is a position that attention weighs")
    _mask(trace, call.get("attn_mask", "attn_bias"), query)
    axes = [Axis((dim,), query[dim]) for dim in (0, 1) if dim in query]
    trace.labels.put(call.out, axes + ([Axis((3,), value[3])] if 3 in value else []))
    for out in call.outs[1:]:
        trace.labels.put(out, [])


def _serve(trace: Trace, queries: Ids | None, keys: Ids | None) -> None:
    if queries is None or keys is None or len(queries) % len(keys):
        trace.tie(queries, keys, FIXED)
        return
    trace.table.join(queries.reshape(len(keys), -1), keys[:, None])


def _mask(trace: Trace, mask: Any, query: dict[int, Ids]) -> None:
    if not isinstance(mask, Tensor):
        return
    ids = trace.labels.single(mask)
    heads = mask.dim() - 3
    if heads in ids or (1 in query and heads >= 0 and _varies(mask, heads)):
        trace.tie(query.get(1), ids.pop(heads, None), FIXED)
    trace.pin(list(ids.values()), "it is a position that attention weighs")


def _varies(mask: Tensor, dim: int) -> bool:
    return mask.shape[dim] > 1 and mask.stride(dim) != 0


PRODUCTS: Rules = {
    "mm": matrix_product,
    "bmm": matrix_product,
    "addmm": add_matrix_product,
    "baddbmm": add_matrix_product,
}
ATTENTIONS = (
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "scaled_dot_product_attention",
)
RULES: Rules = {**PRODUCTS, "linear": linear, **dict.fromkeys(ATTENTIONS, attention)}
