"""Reads from a PDF how wide it is and how large its type is printed."""

import re
import zlib
from pathlib import Path

_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_TOKEN = re.compile(rb"\((?:\\.|[^()\\])*\)|[^\s()\[\]]+")


def inches(file: Path) -> float:
    """Returns the width of the only page."""
    (box,) = re.findall(rb"/MediaBox \[([^\]]*)\]", file.read_bytes())
    left, _, right, _ = map(float, box.split())
    return (right - left) / 72


def sizes(file: Path) -> list[float]:
    """Returns the size in points of each text, and of each glyph that is drawn as a form."""
    found = []
    for stream in _STREAM.findall(file.read_bytes()):
        try:
            content = zlib.decompress(stream)
        except zlib.error:
            continue
        if b" Tf" in content:
            found += _sizes_in(content)
    return found


def _sizes_in(content: bytes) -> list[float]:
    """Follows the scale of the page through q, Q and cm."""
    scale, outer, before, found = 1.0, list[float](), list[bytes](), list[float]()
    for token in _TOKEN.findall(content):
        if token == b"q":
            outer.append(scale)
        elif token == b"Q":
            scale = outer.pop()
        elif token == b"cm":
            a, b = map(float, before[-6:-4])
            scale *= (a * a + b * b) ** 0.5
        elif token == b"Tf":
            found.append(scale * float(before[-1]))
        elif token == b"Do" and before[-1].startswith(b"/F"):
            found.append(1000 * scale)
        before.append(token)
    return found
