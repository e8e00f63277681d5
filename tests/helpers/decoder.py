"""Defines a small decoder of today's kind: shared key and value heads, and a gated inner width."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKENS = torch.arange(10).view(2, 5)


class SharedHeads(nn.Module):
    """Computes attention of four query heads of width 3, and two key and value heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.output = nn.Linear(width, 12), nn.Linear(12, width)
        self.key, self.value = nn.Linear(width, 6), nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (-1, 3)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        k, v = (part[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for part in (k, v))
        made: Tensor = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(made.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Gated(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Predicts one of 10 tokens; the stream of width 8 has RMS norms."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(10, 8), nn.Linear(8, 10)
        self.norms = nn.ModuleList(nn.RMSNorm(8) for _ in range(3))
        self.attention, self.ffn = SharedHeads(8), Gated(8, 16)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        x = x + self.attention(self.norms[0](x))
        x = x + self.ffn(self.norms[1](x))
        return self.head(self.norms[2](x))  # type: ignore[no-any-return]
