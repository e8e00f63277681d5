"""Sets the sizes that torch's layers state, after entries of their tensors were removed."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

# Own name of a tensor ("weight") -> for each dimension the indices that are left, or None for all.
OwnCut = Mapping[str, tuple[Tensor | None, ...]]


def set_sizes(layer: nn.Module, cut: OwnCut) -> None:
    """Sets what the layer states about its tensors, which have their new shapes already.

    Does nothing to a module that is none of torch's layers.

    Raises:
        ValueError: the class of the layer does not allow these sizes.
    """
    for kind, change in SIZES.items():
        if isinstance(layer, kind):
            change(layer, cut)
            return


def _linear(layer: Any, cut: OwnCut) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _bilinear(layer: Any, cut: OwnCut) -> None:
    layer.out_features, layer.in1_features, layer.in2_features = layer.weight.shape


def _conv(layer: Any, cut: OwnCut) -> None:
    first = layer.in_channels if layer.transposed else layer.out_channels
    layer.groups = _parts_left(cut.get("weight", (None,))[0], first, layer.groups)
    ends = layer.weight.shape[0], layer.weight.shape[1] * layer.groups
    layer.out_channels, layer.in_channels = reversed(ends) if layer.transposed else ends


def _channel_norm(layer: Any, cut: OwnCut) -> None:
    layer.num_features = len(layer.weight if layer.weight is not None else layer.running_mean)


def _group_norm(layer: Any, cut: OwnCut) -> None:
    kept = cut.get("weight", (None,))[0]
    layer.num_groups = _parts_left(kept, layer.num_channels, layer.num_groups)
    layer.num_channels = len(layer.weight)


def _width_norm(layer: Any, cut: OwnCut) -> None:
    layer.normalized_shape = tuple(layer.weight.shape)


def _table(layer: Any, cut: OwnCut) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


def _prelu(layer: Any, cut: OwnCut) -> None:
    layer.num_parameters = len(layer.weight)


def _recurrent(layer: Any, cut: OwnCut) -> None:
    layer.input_size = layer.weight_ih_l0.shape[1]


def _attention(layer: Any, cut: OwnCut) -> None:
    head_dim = layer.head_dim
    if layer._qkv_same_embed_dim:
        rows, width = layer.in_proj_weight.shape[0] // 3, layer.in_proj_weight.shape[1]
        layer.kdim = layer.vdim = width
    else:
        rows, width = layer.q_proj_weight.shape
        layer.kdim, layer.vdim = layer.k_proj_weight.shape[1], layer.v_proj_weight.shape[1]
    if rows != width or width % head_dim:
        raise ValueError(
            f"rows of its projections={rows}, width={width}, head_dim={head_dim}: "
            "nn.MultiheadAttention needs heads x head_dim = width; remove equal shares of its "
            "heads and of its width"
        )
    layer.embed_dim, layer.num_heads = width, width // head_dim


def _parts_left(kept: Tensor | None, size: int, parts: int) -> int:
    """Returns how many of the equal parts of a dimension have entries that are left."""
    if kept is None:
        return parts
    left, counts = (kept // (size // parts)).unique(return_counts=True)
    if len(counts.unique()) != 1:
        raise ValueError(f"groups={parts} are left with unequal widths; remove equal parts of them")
    return len(left)


SIZES: dict[Any, Callable[[Any, OwnCut], None]] = {
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    _ConvNd: _conv,
    _NormBase: _channel_norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _width_norm,
    nn.RMSNorm: _width_norm,
    nn.Embedding: _table,
    nn.EmbeddingBag: _table,
    nn.PReLU: _prelu,
    nn.RNNBase: _recurrent,
    nn.MultiheadAttention: _attention,
}
LAYERS = tuple(SIZES)
