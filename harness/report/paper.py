"""Reads how figures are printed: their width, their panels, their methods, their type."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

# Inches of a unit; pt is TeX's, as in \the\textwidth.
UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
WIDTHS = (2.0, 40.0)  # inches
FONTS = (7.0, 16.0)  # points; smaller type is not read in print
PANELS = ("compression", "speedup", "measured_speedup", "latency", "cost")


@dataclass(frozen=True)
class Paper:
    """Holds how figures are printed.

    Args:
        width: Width of a figure in inches; None: a width per panel.
        panels: Some of PANELS, in this order; None: all that were measured.
        methods: Labels of the methods that are shown, in this order; None: all.
        font: Size of all type in points.
        words: The options that the user gave, for the command of the page.
        latency: Conditions of the measured speed that is shown; None: those of most results.
    """

    width: float | None = None
    panels: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    font: float = 9.0
    words: tuple[str, ...] = ()
    latency: str | None = None

    @property
    def em(self) -> float:
        """Returns the size of the type in inches."""
        return self.font / 72


def parse_width(text: str) -> float:
    """Returns a width in inches.

    >>> parse_width("5.5in"), round(parse_width("14cm"), 2)
    (5.5, 5.51)

    Raises:
        ValueError: the text is no width, or one out of range.
    """
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)({'|'.join(UNITS)})", text)
    inches = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not WIDTHS[0] <= inches <= WIDTHS[1]:
        raise ValueError(
            f"--width {text}: write a width from {WIDTHS[0]:g}in to {WIDTHS[1]:g}in with its unit "
            f"({', '.join(UNITS)}), as in 5.5in"
        )
    return inches


def parse_font(text: str) -> float:
    """Returns a size of type in points.

    >>> parse_font("8")
    8.0

    Raises:
        ValueError: the text is no number, or one out of range.
    """
    size = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0
    if not FONTS[0] <= size <= FONTS[1]:
        raise ValueError(
            f"--font {text}: write a size from {FONTS[0]:g} to {FONTS[1]:g} points, as in 8"
        )
    return size


def parse_panels(text: str) -> tuple[str, ...]:
    """Returns the names of panels, each once.

    >>> parse_panels("speedup,compression")
    ('speedup', 'compression')

    Raises:
        ValueError: a name is not in PANELS.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in PANELS:
            raise ValueError(f"--panels {name}: there is no such panel; use {', '.join(PANELS)}")
    return tuple(dict.fromkeys(names))


def chosen_methods(texts: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Returns the labels that the texts name; a text is a label, or several between commas.

    >>> chosen_methods(["SNIP,Random", "Ours (a, b)"], ["Ours (a, b)", "Random", "SNIP"])
    ('SNIP', 'Random', 'Ours (a, b)')

    Raises:
        ValueError: a name is not among the known labels.
    """
    names = [name for text in texts for name in ([text] if text in known else _split(text))]
    for name in names:
        if name not in known:
            labels = ", ".join(map(repr, known))
            raise ValueError(f"--methods {name!r}: no result has this label; use {labels}")
    return tuple(dict.fromkeys(names))


def _split(text: str) -> Sequence[str]:
    return [name.strip() for name in text.split(",")]
