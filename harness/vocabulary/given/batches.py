"""Checks batches of data that a user gives."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.tensors import Batch


def check_batch(source: str, batch: Any) -> Batch:
    """Returns the batch, if it is (inputs, labels): tensors with values.

    Inputs are one tensor, or a dictionary of them by the names of the model's arguments.

    Args:
        source: what gives the batch, for the message.
        batch: what should be one.

    Raises:
        ValueError: it is something else.
    """
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    parts: Any = batch if pair else (None, None)
    inputs, labels = parts
    named = isinstance(inputs, Mapping) and all(isinstance(name, str) for name in inputs)
    given = [*inputs.values(), labels] if named else [inputs, labels]
    if len(given) < 2 or not all(isinstance(t, Tensor) and not t.is_meta for t in given):
        nested = isinstance(batch, dict) or isinstance(inputs, dict | tuple | list)
        raise ValueError(
            f"{source} must be (inputs, labels), tensors with values, got {kind_of(batch)}; "
            + (
                "give several inputs as a dictionary of tensors, by the names of the model's "
                "arguments, and the labels beside it"
                if nested
                else "convert with torch.as_tensor, and give a list of such pairs"
            )
        )
    return (dict(inputs) if named else inputs), labels


def check_batches(source: str, batches: Any) -> list[Batch]:
    """Returns a list of checked batches; None gives none.

    Raises:
        ValueError: `batches` is no series of batches.
    """
    if batches is None:
        return []
    if isinstance(batches, Tensor | Mapping | str) or not isinstance(batches, Iterable):
        raise ValueError(
            f"{source} must be a list of (inputs, labels), or a DataLoader, got {kind_of(batches)}"
        )
    return [check_batch(source, batch) for batch in batches]


@contextmanager
def explain_input_errors(source: str, inputs: Inputs | None) -> Iterator[None]:
    """Replaces errors about integer inputs and names, inside the context, by ones that name them.

    Raises:
        ValueError: a layer cannot take inputs of this dtype, an id is outside of a table, or the
            model has no argument of a name.
    """
    try:
        yield
    except TypeError as error:
        if not isinstance(inputs, dict) or "argument" not in str(error):
            raise
        raise ValueError(
            f"{source} are named {', '.join(inputs)}, and the model's forward has other arguments "
            f"({first_line(error)}); name inputs as its arguments"
        ) from error
    except (RuntimeError, IndexError) as error:
        text = str(error).strip().partition("\n")[0]
        if not isinstance(inputs, Tensor) or isinstance(error, NotImplementedError):
            raise
        floating = inputs.is_floating_point()
        if "out of range in self" in text:
            problem = f"{source} hold an id outside of the model's table of embeddings ({text})"
        elif floating and "'indices'" in text:
            problem = f"{source} are {inputs.dtype}, and an embedding needs int64 ids ({text})"
        elif not floating and "type" in text:
            problem = (
                f"{source} are {inputs.dtype}, and a layer computes with real numbers ({text}); "
                "convert them with .float()"
            )
        else:
            raise
        raise ValueError(problem) from error


def kind_of(value: Any) -> str:
    """Returns what a value is, in a few words.

    >>> import torch
    >>> kind_of({"ids": torch.ones(2), "mask": 1}), kind_of((torch.ones(2, 3), [1]))
    ('a dict of ids, mask', 'a tuple of a tensor (2, 3), a list')
    """
    if isinstance(value, Tensor):
        where = " on the meta device" if value.is_meta else ""
        return f"a tensor {tuple(value.shape)}{where}"
    name = type(value).__name__
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, list(value)[:3]))}"
    if isinstance(value, tuple) or (isinstance(value, list) and 0 < len(value) <= 3):
        inside = [kind_of(part) if isinstance(part, Tensor) else _article(part) for part in value]
        return f"a {name} of {', '.join(inside[:4]) or 'nothing'}"
    return _article(value)


def _article(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
