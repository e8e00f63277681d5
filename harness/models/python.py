import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from torch import nn

from harness.models.base import check_task
from harness.models.shared.library_model import OutputEntry
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.inputs import SampleShape
from harness.vocabulary.given.own_target import check_arguments, import_target


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
        import_target("model.target", self.target)

    @property
    def short_name(self) -> str:
        return self.target.rpartition(":")[2]

    def build(self, shape: SampleShape, classes: int) -> nn.Module:
        factory = import_target("model.target", self.target)
        known = {"shape": shape, "classes": classes, "num_classes": classes}
        if not isinstance(shape, dict):
            check_task(f"model.target={self.target}", shape, classes)
            known |= {"shape": tuple(shape), "in_chans": shape[0]}
        named = _parameters(self.target, factory)
        given = {key: known[key] for key in known if key in named}
        arguments = {**given, **(self.options or {})}
        check_arguments("model.target", self.target, factory, arguments)
        model: nn.Module = factory(**arguments)
        if self.output is not None and isinstance(model, nn.Module):
            model.register_forward_hook(OutputEntry(self.output))
        return model


def _parameters(target: str, factory: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(factory).parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"model.target={target} has no signature to read; write a function of your own around "
            "it"
        ) from error
