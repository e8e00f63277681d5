import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from harness.models.base import check_task, check_weights
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class CharTransformer:
    """Builds a decoder-only transformer with pre-norm.

    It maps (batch, context) ids to (batch, context, classes).

    depth blocks x = x + attention(norm1(x)); x = x + fc2(gelu(fc1(norm2(x)))), then norm and an
    untied classifier. Attention is causal: an output depends on no later input. Inputs are token
    ids 0 to classes - 1, of any dtype, such as data=topics has; positions are learned.

    Prunable are query, key, value, output, fc1 and fc2 of every block and the classifier:
    depth (4 + 2 mlp) width^2 + width classes weights. Embeddings and norms are not.

    Source: Radford et al. 2019, Language Models are Unsupervised Multitask Learners (GPT-2).
    Theirs ties the classifier to the embedding, has one layer for query, key and value, and
    scales the initial weights by depth; we have torch's initial weights of linear layers, and
    embeddings of std 0.02.

    width: of the stream; heads: of attention, each of width / heads; mlp: width of fc1 in widths;
    dropout: of embeddings, attention and what blocks add, in [0, 1).

    Raises:
        ValueError: a number is out of range, or heads do not divide width.
    """

    width: Annotated[int, "a whole number in [1, 65536]"] = 64
    heads: Annotated[int, "a whole number in [1, 65536]; a divisor of width"] = 4
    depth: Annotated[int, "a whole number in [1, 1000]"] = 2
    mlp: Annotated[int, "a whole number in [1, 1000]; times width"] = 4
    dropout: Annotated[float, "a number in [0, 1); 0 turns it off"] = 0.0

    def __post_init__(self) -> None:
        check_declared(self)
        if self.width % self.heads:
            below = self.width - self.width % self.heads
            raise ValueError(
                f"width={self.width} is shared between heads={self.heads}, which do not divide "
                f"it; write width={below or self.heads} or width={below + self.heads}"
            )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_task("char_transformer", shape, classes)
        if len(shape) != 1:
            raise ValueError(
                f"char_transformer needs samples of shape (context,), got {tuple(shape)}; "
                "use data=topics, or model=lenet_5 for images"
            )
        of_blocks = self.depth * (4 + 2 * self.mlp) * self.width**2
        check_weights("char_transformer", of_blocks + (2 * classes + shape[0]) * self.width)
        blocks = [self._block() for _ in range(self.depth)]
        return nn.Sequential(
            OrderedDict(
                embedding=Embedding(shape[0], classes, self.width),
                dropout=nn.Dropout(self.dropout),
                blocks=nn.Sequential(*blocks),
                norm=nn.LayerNorm(self.width),
                classifier=nn.Linear(self.width, classes),
            )
        )

    def _block(self) -> nn.Module:
        return Block(self.width, self.heads, self.mlp * self.width, self.dropout)


class Embedding(nn.Module):
    """Adds token and position vectors: ids (batch, positions) -> (batch, positions, width)."""

    def __init__(self, context: int, classes: int, width: int):
        super().__init__()
        self.tokens = nn.Embedding(classes, width)
        self.positions = nn.Embedding(context, width)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the sum of token and position vectors.

        Raises:
            ValueError: more positions than the model was built for, or (on the CPU; CUDA has
                an error of its own) an input is not an id.
        """
        context, length = self.positions.num_embeddings, inputs.shape[1]
        if length > context:
            raise ValueError(f"inputs must have at most {context} positions, got {length}")
        indices = torch.arange(length, device=inputs.device)
        try:
            tokens: Tensor = self.tokens(inputs.long())
        except IndexError as error:
            raise ValueError(
                f"char_transformer takes ids from 0 to {self.tokens.num_embeddings - 1}, got "
                f"{inputs.min():g} to {inputs.max():g}; use data=topics"
            ) from error
        positions: Tensor = self.positions(indices)
        return tokens + positions


class Attention(nn.Module):
    """Computes causal attention of several heads, (batch, positions, width) -> the same shape.

    Each head: softmax(q k^T / sqrt(head width)) v over its own and earlier positions.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        # Written out: the backward of torch's fused attention has no derivative, and saliencies
        # of second order need one.
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        length = x.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        weights = self.dropout(scores.masked_fill(later, -math.inf).softmax(dim=-1))
        merged: Tensor = self.output((weights @ v).transpose(1, 2).flatten(2))
        return merged

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Block(nn.Module):
    """x + attention(norm1(x)), then x + fc2(gelu(fc1(norm2(x))))."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        added: Tensor = self.dropout(self.fc2(self.gelu(self.fc1(self.norm2(x)))))
        return x + added
