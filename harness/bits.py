"""Masks as packed bits, and their digests: what ranks send and compare."""

import hashlib

import torch
from torch import Tensor

from harness.tensors import Tensors


def digest(masks: Tensors) -> str:
    """SHA-256 over names, shapes and bits of bool tensors, first 16 hex digits."""
    parts = hashlib.sha256()
    for name in sorted(masks):
        parts.update(f"{name} {tuple(masks[name].shape)} ".encode())
        parts.update(pack(masks[name]).cpu().numpy().tobytes())
    return parts.hexdigest()[:16]


def pack(mask: Tensor) -> Tensor:
    """Bools to bits, 8 a byte (uint8, ceil(n / 8)), first element in the highest bit."""
    flat = mask.flatten().to(torch.uint8)
    padded = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).view(-1, 8)
    powers = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=mask.device)
    return (padded * powers).sum(dim=1, dtype=torch.uint8)


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `pack` for a mask of this shape."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    flat = (bits.unsqueeze(1) >> shifts & 1).flatten()[: shape.numel()]
    return flat.bool().view(shape)
