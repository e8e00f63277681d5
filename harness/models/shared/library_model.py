"""Builds models of other libraries for the shape and classes of the data."""

import inspect
from collections.abc import Callable, Collection
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from harness.models.base import check_images, check_weights
from harness.vocabulary.given.batches import kind_of
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.nested import named_entries

SIDES = (32, 64, 96, 128, 160, 192, 224, 256, 299, 384, 448, 512)  # that a refusal tries
# Arguments of constructors that take the size of an image.
SIZE_ARGUMENTS = ("image_size", "img_size", "input_size")

Build = Callable[[tuple[int, ...]], nn.Module]  # shape of a sample -> a new model


class OutputEntry:
    """Replaces what a model returns by one entry of it: `outputs.logits`, outputs["logits"] or
    outputs[0].

    A forward hook, so that the names of the model's state stay those of its library. A tensor is
    left as it is: some models return more than the logits in training mode only.
    """

    def __init__(self, entry: str | int):
        self.entry = entry

    def __call__(self, model: nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs if isinstance(outputs, Tensor) else self.of(outputs)

    def of(self, outputs: Any) -> Any:
        """Returns the entry of outputs that are no tensor.

        Raises:
            ValueError: the outputs have no such entry.
        """
        try:
            if isinstance(self.entry, str) and not isinstance(outputs, dict):
                return getattr(outputs, self.entry)
            return outputs[self.entry]
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"model.output={self.entry}: the model returns {kind_of(outputs)}; name one of its "
                f"entries{_listed(named_entries(outputs))}"
            ) from error


def _listed(entries: Collection[str]) -> str:
    return f": {', '.join(entries)}" if entries else ""


def library_model(name: str, build: Build, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Builds a model after a trial that its forward pass takes samples of this shape.

    The trial needs no memory for weights where the model can be built without. Where the model
    returns more than a tensor, its forward pass gives the entry `logits`.

    Raises:
        ValueError: the library refuses the arguments, the model does not take such samples, or
            gives other outputs than (samples, classes).
    """
    check_images(name, shape, classes)
    planned, problem = _tried(build, shape, classes)
    if problem or planned is None:
        raise ValueError(
            f"{name} does not take samples of shape {shape} ({problem}); "
            f"{_taken(build, shape, classes)}"
        )
    check_weights(name, sum(parameter.numel() for parameter in planned.parameters()))
    model = build(shape)
    if _returns_more(planned, shape):
        model.register_forward_hook(OutputEntry("logits"))
    return model.train()


def sized(make: Callable[..., nn.Module], options: Collection[str]) -> Build:
    """Returns a function that gives a constructor the size of an image, if it takes one.

    make: builds a model from further arguments. options: names of arguments that are given already.
    """
    parameters: list[Collection[str]] = []

    def build(shape: tuple[int, ...]) -> nn.Module:
        if not parameters:
            constructor = type(_planned(make)).__init__
            parameters.append(inspect.signature(constructor).parameters)
        _, height, width = shape
        for key in SIZE_ARGUMENTS:
            if key in parameters[0] and key not in options:
                one_number = height == width and key != "input_size"
                return make(**{key: height if one_number else (height, width)})
        return make()

    return build


def check_name(key: str, name: str, known: Collection[str], remedy: str) -> None:
    """Checks that a library has a model of this name.

    Raises:
        ValueError: it has none; the message names those that are spelt most alike.
    """
    if name not in known:
        near = ", ".join(get_close_matches(name, known, n=3))
        raise ValueError(f"{key}={name}: there is no such model; {_meant(near)}{remedy}")


def _meant(near: str) -> str:
    return f"did you mean {near}? " if near else ""


def _planned(make: Callable[[], nn.Module]) -> nn.Module:
    """Returns the model without memory for its weights, or, where that fails, with it."""
    with suppress(RuntimeError, NotImplementedError), torch.device("meta"):
        return make().eval()  # fails where it reads a value while it is built
    with torch.random.fork_rng(devices=[]):
        return make().eval()


def _tried(
    build: Build, shape: tuple[int, ...], classes: int | None
) -> tuple[nn.Module | None, str | None]:
    """Returns the model for samples of a shape, and why it does not take them, or None."""
    try:
        planned = _planned(lambda: build(shape))
    except Exception as error:  # a library may raise anything
        return None, first_line(error)
    return planned, _problem(planned, shape, classes)


def _returns_more(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """True if the model returns more than a tensor, at least in training mode."""
    if getattr(model, "aux_logits", False):
        return True
    with torch.no_grad():
        return not isinstance(model(_samples(model, shape)), Tensor)


def _samples(model: nn.Module, shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(2, *shape, device=next(model.parameters()).device)


def _problem(model: nn.Module, shape: tuple[int, ...], classes: int | None) -> str | None:
    """Returns why samples of a shape are not taken, or None. classes: None accepts any number."""
    try:
        with torch.no_grad():
            outputs = model(_samples(model, shape))
        if not isinstance(outputs, Tensor):
            outputs = OutputEntry("logits").of(outputs)
    except Exception as error:  # a model may raise anything
        return f"{type(error).__name__}: {first_line(error)}"
    if outputs.ndim != 2 or classes not in (None, outputs.shape[1]):
        return f"it returns {tuple(outputs.shape)} for two samples and {classes} classes"
    return None


def _taken(build: Build, shape: tuple[int, ...], classes: int) -> str:
    """Returns in words which shapes of samples the model takes."""
    for channels in dict.fromkeys((shape[0], 3)):
        sides = [n for n in SIDES if _tried(build, (channels, n, n), classes)[1] is None]
        if sides:
            return f"it takes {channels} channels and sides such as {', '.join(map(str, sides))}"
    return "look at model.options, as it takes no images of 32 to 512 pixels either"
