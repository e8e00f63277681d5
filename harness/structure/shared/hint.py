"""Names the structures that an error may advise."""

from functools import cache
from importlib import import_module
from pathlib import Path

from harness.structure.shared.grouped import Grouped


@cache
def removing_structures() -> str:
    """Returns the structures of the harness that remove units of groups, as text.

    >>> removing_structures()
    'attention_head, ffn, filter, group, neuron or row'
    """
    names = sorted(file.stem for file in Path(__file__).parents[1].glob("*.py"))
    *most, last = (name for name in names if name != "__init__" and _removes(name))
    return f"{', '.join(most)} or {last}"


def _removes(name: str) -> bool:
    module = import_module(f"harness.structure.{name}")
    own = (
        each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
    )
    return any(isinstance(each, type) and issubclass(each, Grouped) for each in own)
