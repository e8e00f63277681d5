import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

from torch import nn

from harness.models.base import check_task
from harness.models.shared.library_model import OutputEntry
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.given.inputs import SampleShape


@dataclass(frozen=True)
class Python:
    """Builds a model by a function or class of your own: target(**what it names, **options).

    The target is given those of `shape`, `classes`, `num_classes` and `in_chans` that its signature
    names and `options` leave out: the shape of a sample, the number of classes (twice), and the
    first size of the shape. It returns a torch.nn.Module.

    target: pkg.module:factory, which is imported.
    output: where the model returns a tuple, dictionary or dataclass: the index or name of the entry
        that is the output.

    Raises:
        ValueError: the target cannot be imported or called, or needs an argument that it is not
            given.
    """

    target: Annotated[str, "text of 3 to 1000 characters; write pkg.module:factory"]
    options: Mapping[str, Any] | None = None
    output: str | Annotated[int, "a whole number in [0, 1000]"] | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        self._factory()

    @property
    def short_name(self) -> str:
        return self.target.rpartition(":")[2]

    def build(self, shape: SampleShape, classes: int) -> nn.Module:
        factory = self._factory()
        known = {"shape": shape, "classes": classes, "num_classes": classes}
        if not isinstance(shape, dict):
            check_task(f"model.target={self.target}", shape, classes)
            known |= {"shape": tuple(shape), "in_chans": shape[0]}
        named = _parameters(self.target, factory)
        given = {key: known[key] for key in known if key in named}
        arguments = {**given, **(self.options or {})}
        try:
            inspect.signature(factory).bind(**arguments)
        except TypeError as error:
            raise ValueError(
                f"model.target={self.target} is called with {', '.join(arguments) or 'nothing'}: "
                f"{first_line(error)}; give what is missing in model.options"
            ) from error
        model: nn.Module = factory(**arguments)
        if self.output is not None and isinstance(model, nn.Module):
            model.register_forward_hook(OutputEntry(self.output))
        return model

    def _factory(self) -> Callable[..., Any]:
        """Returns the function or class that the target names.

        Raises:
            ValueError: it cannot be imported, or is none.
        """
        module, colon, path = self.target.partition(":")
        if not (module and colon and path):
            raise ValueError(
                f"model.target={self.target} must be written as pkg.module:factory, with a colon"
            )
        try:
            value: Any = import_module(module)
            for name in path.split("."):
                value = getattr(value, name)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"model.target={self.target} cannot be imported ({first_line(error)}); start where "
                "the module lies, or set PYTHONPATH"
            ) from error
        if not callable(value):
            raise ValueError(f"model.target={self.target} is no function or class; name one")
        return value  # type: ignore[no-any-return]


def _parameters(target: str, factory: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"model.target={target} has no signature to read; write a function of your own around "
            "it"
        ) from error
