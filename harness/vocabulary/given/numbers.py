"""Converts numbers of other libraries to those of Python."""

from decimal import Decimal
from numbers import Integral, Rational, Real
from typing import Any


def plain_number(value: Any) -> Any:
    """Returns an int or float for any real number that is no bool; other values as they are.

    Numbers of numpy, a tensor of one number without dimensions, Fraction and Decimal are numbers.

    >>> import numpy as np, torch
    >>> plain_number(np.float32(0.5)), plain_number(torch.tensor(3)), plain_number(np.int64(2))
    (0.5, 3, 2)
    >>> plain_number(True), plain_number("0.5"), plain_number(torch.tensor([0.5]))
    (True, '0.5', tensor([0.5000]))
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real | Rational | Decimal):
        return float(value)
    alone = getattr(value, "ndim", None) == 0 and not getattr(value, "is_meta", False)
    if not alone:
        return value
    number = value.item()  # of a bool tensor, a complex number or text it stays one
    return plain_number(number) if type(number) in (int, float) else value
