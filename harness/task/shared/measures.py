"""Describes measures: how reports name them, their unit, and which direction is better."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    """Holds what is said of a measure.

    Args:
        name: its key in a record.
        title: its name in figures and tables.
        is_fraction: in [0, 1]; shown in %.
        higher_is_better: False for an error.
    """

    name: str
    title: str
    is_fraction: bool = True
    higher_is_better: bool = True

    @property
    def factor(self) -> int:
        """Returns what a value is multiplied by to be shown: 100 for %."""
        return 100 if self.is_fraction else 1

    @property
    def axis(self) -> str:
        """Returns the title of an axis.

        >>> TOP1.axis, MSE.axis, Measure("r2", "R^2", is_fraction=False).axis
        ('Top-1 accuracy, %', 'MSE (lower is better)', 'R^2')
        """
        unit = ", %" if self.is_fraction else ""
        return f"{self.title}{unit}{'' if self.higher_is_better else ' (lower is better)'}"

    @property
    def short(self) -> str:
        """Returns the title inside a sentence.

        >>> TOP1.short, MSE.short
        ('top-1', 'MSE')
        """
        plain = self.title.removesuffix(" accuracy")
        return plain if plain[1:2].isupper() else f"{plain[0].lower()}{plain[1:]}"

    @property
    def change(self) -> str:
        """Returns the title of a difference to the dense model.

        >>> TOP1.change, MSE.change
        ('Change of top-1 against dense, points', 'Change of MSE against dense')
        """
        return f"Change of {self.short} against dense{', points' if self.is_fraction else ''}"

    def shown(self, value: float | None) -> str:
        """Returns a value as text.

        >>> TOP1.shown(0.9312), MSE.shown(0.25), MSE.shown(None)
        ('top-1 93.12 %', 'MSE 0.25', 'MSE not finite')
        """
        if value is None:
            return f"{self.short} not finite"
        number = f"{100 * value:.2f} %" if self.is_fraction else f"{value:.4g}"
        return f"{self.short} {number}"


TOP1 = Measure("top1", "Top-1 accuracy")
MSE = Measure("mse", "MSE", is_fraction=False, higher_is_better=False)
MIOU = Measure("miou", "Mean IoU")
F1_MACRO = Measure("f1_macro", "Macro F1")


def validation_text(measure: Measure, value: float | None) -> str:
    """Returns a value on validation data as text; top-1 needs no name.

    >>> validation_text(TOP1, 0.5), validation_text(MSE, 0.5)
    ('50.00 %', 'MSE 0.5')
    """
    return measure.shown(value).removeprefix("top-1 ")


class Measured:
    """Gives a record its primary measure, by the names of its fields."""

    top1: float | None
    validation_top1: float | None
    measures: Mapping[str, float]
    validation_measures: Mapping[str, float]
    measure: str
    measure_title: str
    measure_is_fraction: bool
    higher_is_better: bool

    @property
    def primary(self) -> Measure:
        return Measure(
            self.measure, self.measure_title, self.measure_is_fraction, self.higher_is_better
        )

    @property
    def value(self) -> float | None:
        """Returns the primary measure on test data; None where it is not finite."""
        return self.top1 if self.measure == TOP1.name else self.measures.get(self.measure)

    @property
    def validation_value(self) -> float | None:
        """Returns the primary measure on validation data; None where it is not finite."""
        if self.measure == TOP1.name:
            return self.validation_top1
        return self.validation_measures.get(self.measure)


def measured_in(row: Mapping[str, Any]) -> Measured:
    """Returns the measures in a line of records.jsonl, read as JSON.

    >>> measured_in({"top1": 0.5}).value
    0.5
    """
    unknown: dict[str, Any] = {
        "top1": None,
        "validation_top1": None,
        "measures": {},
        "validation_measures": {},
    }
    names = ("measure", "measure_title", "measure_is_fraction", "higher_is_better")
    found = Measured()
    vars(found).update(unknown | dict(zip(names, TOP1, strict=True)) | dict(row))
    return found
