"""Small networks whose attention computes its sizes in the ways that published code does."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

POSITIONS = torch.linspace(-1, 1, 2 * 5 * 7).view(2, 5, 7).double()


class Attention(nn.Module):
    """Attends with heads whose width is computed as width // heads, as Swin's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn(5, 5, heads))
        self.num_heads = heads

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        sizes = batch, length, 3, self.num_heads, self.head_dim(width)
        q, k, v = self.qkv(x).reshape(*sizes).permute(2, 0, 3, 1, 4)
        weights = self.weigh(q @ k.mT + self.table.permute(2, 0, 1))
        made = weights @ v + self.beside(v)
        return self.proj(made.transpose(1, 2).reshape(batch, length, -1))

    def beside(self, values: Tensor) -> Tensor:
        return torch.zeros_like(values)

    def head_dim(self, width: int) -> int:
        return width // self.num_heads

    def weigh(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1)


class Free(Attention):
    """Keeps the width of a head, so that heads go alone, as timm's vision transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.own = width // heads

    def head_dim(self, width: int) -> int:
        return self.own


class Cached(Free):
    """Adds to its input what a cache holds, and adds the sum to the cache."""

    def forward(self, x: Tensor, cache: "Cache | None" = None) -> Tensor:
        return super().forward(x if cache is None else cache.added(x))


class Required(Cached):
    """Does not run without a cache."""

    def forward(self, x: Tensor, cache: "Cache | None" = None) -> Tensor:
        assert cache is not None
        return super().forward(x, cache)


class Cache:
    total: Tensor | float = 0.0

    def added(self, x: Tensor) -> Tensor:
        self.total = x + self.total
        return self.total


class Alone(Free):
    """Keeps the width of a head only where one head is left."""

    def head_dim(self, width: int) -> int:
        return self.own if self.num_heads == 1 else width // self.num_heads


class Literal(Attention):
    """Has the number of its heads written in its code."""

    def forward(self, x: Tensor) -> Tensor:
        self.num_heads = 4
        return super().forward(x)


class Talking(Attention):
    """Mixes the scores of the heads, and their weights, as CaiT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.before, self.after = nn.Linear(heads, heads), nn.Linear(heads, heads)

    def weigh(self, scores: Tensor) -> Tensor:
        weights = self.before(scores.permute(0, 2, 3, 1)).softmax(-2)
        return self.after(weights).permute(0, 3, 1, 2)


class Parted(Attention):
    """Sends one head through a layer, and the others through another one, as CoaT."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.splits = [width // heads, width - width // heads]
        self.parts = nn.ModuleList(nn.Conv1d(size, size, 3, 1, 1, 1, size) for size in self.splits)

    def beside(self, values: Tensor) -> Tensor:
        parts = values.mT.flatten(1, 2).split(self.splits, 1)
        made = torch.cat([part(each) for part, each in zip(self.parts, parts, strict=True)], 1)
        return made.view(values.mT.shape).mT


class Biased(Free):
    """Gets the scores of its heads' positions from the module around it, as MPNet."""

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        self.bias = bias
        return super().forward(x)

    def weigh(self, scores: Tensor) -> Tensor:
        return (scores + self.bias).softmax(-1)


class Biasing(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner, self.places = Biased(width, heads), nn.Embedding(5, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, self.places(torch.arange(x.shape[1])).mT[:, None])


class Shared(nn.Module):
    """Has two query heads for each key and value head, of width // heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.q, self.proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k, self.v = nn.Linear(width, width // 2), nn.Linear(width, width // 2)
        self.num_heads, self.num_key_heads = heads, heads // 2

    def forward(self, x: Tensor) -> Tensor:
        q = self.split(self.q(x), self.num_heads, x)
        k, v = (self.split(layer(x), self.num_key_heads, x) for layer in (self.k, self.v))
        k, v = (each.repeat_interleave(2, 1) for each in (k, v))
        made = (q @ k.mT).softmax(-1) @ v
        return self.proj(made.transpose(1, 2).reshape(x.shape))

    def split(self, made: Tensor, heads: int, x: Tensor) -> Tensor:
        return made.view(*x.shape[:2], heads, x.shape[2] // self.num_heads).transpose(1, 2)


class Blocks(nn.Module):
    """Has a stream to which blocks of attention add, each with a feed-forward layer."""

    def __init__(self, width: int, *attentions: nn.Module) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(7, width), nn.Linear(width, 3)
        self.attentions = nn.ModuleList(attentions)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in attentions)
        layers = (nn.Linear(width, 10), nn.GELU(), nn.Linear(10, width))
        self.inner = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            given = (norm(x), Cache()) if isinstance(attention, Cached) else (norm(x),)
            x = x + attention(*given)
            x = x + self.inner(x)
        return self.head(x.mean(1))


class Concatenated(nn.Module):
    """Adds one part of its stream to another, so that channels of both go together."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.stem, self.attention, self.head = nn.Linear(7, 12), attention, nn.Linear(12, 3)
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = self.stem(x).chunk(3, -1)
        x = torch.cat([first, self.inner(first) + second, third], -1)
        return self.head((x + self.attention(x)).mean(1))


def encoder() -> nn.Module:
    """Returns two of torch's encoder layers between linear ones: a width of 12, and 3 heads."""
    layers = [
        nn.TransformerEncoderLayer(12, 3, 10, dropout=0.2, batch_first=True) for _ in range(2)
    ]
    return nn.Sequential(nn.Linear(7, 12), *layers, nn.Linear(12, 3))


@dataclass(frozen=True)
class Tied:
    """Classifies inputs of one dimension, each number a position, by torch's own attention."""

    hidden: list[int] = field(default_factory=lambda: [12])
    batch_norm: bool = False

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (width,) = self.hidden
        layer = nn.TransformerEncoderLayer(width, 3, 10, dropout=0.0, batch_first=True)
        positions = nn.Unflatten(1, (shape[0], 1)), nn.Linear(1, width)
        return nn.Sequential(*positions, layer, nn.Flatten(), nn.Linear(shape[0] * width, classes))
