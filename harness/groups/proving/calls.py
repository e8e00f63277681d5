"""Records what the modules of a network return, and compares another network call by call."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from harness.groups.layers.sizes import LAYERS
from harness.groups.proving.differences import Difference, Layouts
from harness.vocabulary.given.errors import first_line
from harness.vocabulary.nested import iter_tensors

OUTPUT = "the network's output"


class Call(NamedTuple):
    """Holds one call of a leaf module, and the tensors that it returned."""

    module: str
    outputs: list[Tensor]


class Progress:
    """Counts the calls that were equal, and knows the modules that run at the moment."""

    def __init__(self) -> None:
        self.seen, self.equal, self.worst = 0, 0, 0.0
        self.running: list[str] = []
        self.begun = 0

    def begin(self, name: str) -> None:
        self.begun += 1
        self.running.append(name)


def record_calls(
    model: nn.Module, run: Callable[[nn.Module], Any], blocks: Sequence[str] = ()
) -> list[Call]:
    """Returns the calls of the leaf modules in one pass, and the network's output as the last.

    blocks: modules that count as leaves.
    """
    calls: list[Call] = []

    def note(name: str, output: Any) -> None:
        calls.append(Call(name, [t.detach().clone() for t in iter_tensors(output)]))

    with _watched(model, note, blocks=blocks):
        output = run(model)
    note(OUTPUT, output)
    return calls


def compare_calls(
    model: nn.Module,
    run: Callable[[nn.Module], Any],
    calls: list[Call],
    layouts: Layouts,
    tolerance: float,
    outputs: Mapping[str, float],
) -> float:
    """Returns the worst relative error of the calls of a network that has lost units.

    outputs: module -> the factor by which it multiplies more than in the masked network.

    Raises:
        Difference: the first call that differs by more than the tolerance, or that fails.
    """
    at = Progress()

    def check(name: str, output: Any) -> None:
        call = calls[at.seen] if at.seen < len(calls) else Call("", [])
        factor = outputs.get(name, 1.0)
        small = [t.detach() if factor == 1 else t.detach() / factor for t in iter_tensors(output)]
        if call.module != name or len(small) != len(call.outputs):
            raise Difference((at.equal, 0), name, float("inf"), "its calls are others")
        at.seen += 1
        for one, masked in zip(small, call.outputs, strict=True):
            error = layouts.error(one, masked, name)
            if error is None and name == OUTPUT:
                error = float("inf")
            if error is not None and error > tolerance:
                raise Difference((at.equal, 0), name, error)
            if error is not None:
                at.equal, at.worst = at.seen, max(at.worst, error)

    with _watched(model, check, at):
        try:
            output = run(model)
        except Difference:
            raise
        except Exception as error:
            where = at.running[-1] if at.running else ""
            raise Difference(
                (at.equal, at.begun), where, float("inf"), first_line(error)
            ) from error
    check(OUTPUT, output)
    return at.worst


@contextmanager
def _watched(
    model: nn.Module,
    note: Callable[[str, Any], None],
    at: Progress | None = None,
    blocks: Sequence[str] = (),
) -> Iterator[None]:
    """Calls note(name, output) after each call of a leaf; `at` follows calls of all modules."""
    handles = []
    for name, module in model.named_modules():
        if any(name.startswith(f"{block}.") for block in blocks):
            continue
        if at is not None:
            handles.append(module.register_forward_pre_hook(_opening(at, name)))
            handles.append(module.register_forward_hook(_closing(at)))
        is_leaf = name in blocks or not any(True for _ in module.children())
        if isinstance(module, LAYERS) or is_leaf:
            handles.append(module.register_forward_hook(_noting(note, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _opening(at: Progress, name: str) -> Callable[..., None]:
    return lambda module, args: at.begin(name)


def _closing(at: Progress) -> Callable[..., None]:
    def close(module: nn.Module, args: Any, output: Any) -> None:
        at.running.pop()

    return close


def _noting(note: Callable[[str, Any], None], name: str) -> Callable[..., None]:
    def call(module: nn.Module, args: Any, output: Any) -> None:
        with _disable_current_modes():
            # The mean of the heads' weights is another one without a head, and may be read by none.
            first = isinstance(module, nn.MultiheadAttention)
            note(name, output[0] if first else output)

    return call
