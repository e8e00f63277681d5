"""Packs masks into bits, which ranks send, and computes the digest by which records name masks."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from harness.vocabulary.tensors import Tensors


def digest(masks: Tensors) -> str:
    """Returns the first 16 hex digits of a SHA-256 over names, shapes and bits of bool tensors."""
    parts = hashlib.sha256()
    for name in sorted(masks):
        parts.update(f"{name} {tuple(masks[name].shape)} ".encode())
        parts.update(_buffer(pack(masks[name])))
        if _is_damaged(masks[name]):
            parts.update(_buffer(masks[name]))
    return parts.hexdigest()[:16]


def pack(mask: Tensor) -> Tensor:
    """Packs bools into bits, 8 a byte (uint8, ceil(n / 8)), first element in the highest bit."""
    flat = mask.detach().flatten()
    if flat.device.type == "cpu":
        return torch.from_numpy(np.packbits(flat.numpy()))
    padded = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8)).view(-1, 8)
    powers = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=mask.device)
    return (padded * powers).sum(dim=1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """Unpacks the result of `pack` for a mask of this shape."""
    if bits.device.type == "cpu":
        flat = torch.from_numpy(np.unpackbits(bits.numpy(), count=shape.numel()))
        return flat.view(torch.bool).view(shape)
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    flat = (bits.unsqueeze(1) >> shifts & 1).flatten()[: shape.numel()]
    return flat.bool().view(shape)


def _is_damaged(mask: Tensor) -> bool:
    # A bool's byte is 0 or 1. A memory error makes it another number, which packing, like all of
    # torch, reads as True.
    return mask.numel() > 0 and int(mask.view(torch.uint8).max()) > 1


def _buffer(tensor: Tensor) -> memoryview:
    # Bytes, because numpy has no bfloat16. Flat, because a scalar cannot be viewed as bytes.
    return tensor.detach().flatten().cpu().view(torch.uint8).numpy().data


def pack_all(masks: dict[str, Tensor]) -> Tensor:
    """Packs all masks one after the other, ordered by name."""
    return torch.cat([pack(masks[name]) for name in sorted(masks)])


def unpack_all(bits: Tensor, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Unpacks the result of `pack_all` into masks with the names, shapes and order of `like`."""
    names = sorted(like)
    parts = bits.split([-(-like[name].numel() // 8) for name in names])
    masks = {n: unpack(part, like[n].shape) for n, part in zip(names, parts, strict=True)}
    return {name: masks[name] for name in like}
