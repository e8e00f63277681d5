"""Small networks with the connections that published ones have."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {}
PICTURES = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
TOKENS = torch.arange(12).view(2, 6)


def architecture(kind: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    ARCHITECTURES[kind.__name__] = kind
    return kind


def conv(inputs: int, outputs: int, size: int = 3, **options: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.Hardswish())


class Pictures(nn.Module):
    """Classifies pictures by the mean of what `body` returns."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.stem, self.body, self.head = conv(3, 8), body, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class Add(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return sum((branch(x) for branch in self.branches), torch.zeros((), dtype=x.dtype))


class Concatenate(Add):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Shuffle(nn.Module):
    """Mixes half of the channels, then takes them alternately from both halves (ShuffleNet)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groups, self.branch = 2, nn.Sequential(conv(width // 2, 6, 1), conv(6, width // 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        y = torch.cat([left, self.branch(right)], 1)
        batch, width, height, breadth = y.shape
        y = y.view(batch, self.groups, width // self.groups, height, breadth)
        return y.transpose(1, 2).flatten(1, 2)


class Gate(nn.Module):
    """Scales channels by what all of them say (squeeze and excitation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Attention(nn.Module):
    """Attends with one projection, or three; the width is heads x head_dim."""

    def __init__(self, width: int, heads: int, head_dim: int, fused: bool) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.inner_dim = heads, head_dim, heads * head_dim
        self.fused = fused
        inner = heads * head_dim
        if fused:
            self.qkv = nn.Linear(width, 3 * inner)
        else:
            self.q, self.k, self.v = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        if self.fused:
            parts = self.qkv(x).view(batch, length, 3, self.num_heads, self.head_dim)
            queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        else:
            queries, keys, values = (
                layer(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
                for layer in (self.q, self.k, self.v)
            )
        drop = 0.2 if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(queries, keys, values, dropout_p=drop)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, self.inner_dim))


class Layer(nn.Module):
    def __init__(self, norm: Callable[[int], nn.Module], fused: bool) -> None:
        super().__init__()
        self.first_norm, self.second_norm = norm(12), norm(12)
        self.attention = Attention(12, 4, 2, fused)
        self.up, self.down, self.dropout = nn.Linear(12, 20), nn.Linear(20, 12), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.first_norm(x))
        return x + self.dropout(self.down(functional.gelu(self.up(self.second_norm(x)))))


class Language(nn.Module):
    """Predicts tokens by a table that is tied to that of the inputs."""

    def __init__(self, norm: Callable[[int], nn.Module], fused: bool, tied: bool = True) -> None:
        super().__init__()
        self.table, self.norm, self.head = nn.Embedding(12, 12), norm(12), nn.Linear(12, 12)
        self.layers = nn.ModuleList(Layer(norm, fused) for _ in range(2))
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


@architecture
class Auxiliary(nn.Module):
    """Classifies inside the network too, in train mode alone (Inception)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = conv(3, 10), conv(10, 8), nn.Linear(8, 5)
        self.inside = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.first(x)
        outputs = self.head(self.second(y).mean((2, 3)))
        return (outputs, self.inside(y.amax((2, 3)))) if self.training else outputs


@architecture
def residual() -> nn.Module:
    branch = nn.Sequential(conv(8, 6), nn.Conv2d(6, 10, 3, padding=1), nn.BatchNorm2d(10))
    nn.init.zeros_(branch[2].weight)
    return Pictures(Add(branch, conv(8, 10, 1)), 10)


@architecture
def concatenated() -> nn.Module:
    first = Concatenate(nn.Identity(), conv(8, 4))
    return Pictures(nn.Sequential(first, Concatenate(nn.Identity(), conv(12, 4))), 16)


@architecture
def depthwise() -> nn.Module:
    inverted = [conv(8, 12, 1), conv(12, 12, groups=12), Gate(12), nn.Conv2d(12, 8, 1)]
    return Pictures(Add(nn.Identity(), nn.Sequential(*inverted)), 8)


@architecture
def grouped() -> nn.Module:
    return Pictures(nn.Sequential(conv(8, 12, 1), conv(12, 12, groups=4), conv(12, 8, 1)), 8)


@architecture
def shuffled() -> nn.Module:
    return Pictures(nn.Sequential(conv(8, 16, 1), Shuffle(16), Shuffle(16)), 16)


@architecture
def flattened() -> nn.Module:
    layers = [conv(3, 6), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(96, 10), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(10, 5))


@architecture
def group_norm() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(8, 12, 3), nn.GroupNorm(4, 12), nn.SiLU(), nn.Conv2d(12, 8, 1))
    return Pictures(body, 8)


@architecture
def transposed() -> nn.Module:
    up = nn.ConvTranspose2d(8, 6, 2, stride=2)
    return Pictures(nn.Sequential(up, nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 4, 1)), 4)


@architecture
def fused_attention() -> nn.Module:
    return Language(nn.LayerNorm, fused=True)


@architecture
def separate_attention() -> nn.Module:
    return Language(nn.LayerNorm, fused=False)


@architecture
def rms_norm() -> nn.Module:
    return Language(nn.RMSNorm, fused=True)


@architecture
def untied() -> nn.Module:
    return Language(nn.RMSNorm, fused=False, tied=False)


def inputs_of(model: nn.Module) -> Tensor:
    return TOKENS if isinstance(model, Language) else PICTURES
