"""Finds a model's state dict in the content of a checkpoint of any program."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.vocabulary.tensors import Tensors

# Segments that wrappers of torch write into names, also between those of modules.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
DEPTH = 3  # of nested dictionaries


@dataclass(frozen=True)
class Unwrapped:
    """Holds a state dict under the model's names, and how it was found.

    Args:
        tensors: the values under the names that the model has, or could have.
        path: keys of the nested dictionaries that lead to it.
        prefix: what stood before every name, "module." for instance.
        wrappers: segments of wrappers that stood in its names.
        pruned: names that were stored in the form of torch.nn.utils.prune.
        left_out: other names of the same dictionary.
    """

    tensors: dict[str, Any]
    path: tuple[str, ...] = ()
    prefix: str = ""
    wrappers: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def describe(self) -> list[str]:
        """Returns what was unwrapped, one phrase each; nothing for a bare state dict."""
        more = f" and {len(self.left_out) - 1} more" if len(self.left_out) > 1 else ""
        phrases = {
            f"read from {'.'.join(self.path)}": self.path,
            f"without the prefix {self.prefix}": self.prefix,
            f"without {', '.join(self.wrappers)} in its names": self.wrappers,
            f"{len(self.pruned)} tensors multiplied by their masks (*_orig, *_mask)": self.pruned,
            f"left out {', '.join(self.left_out[:1])}{more}": self.left_out,
        }
        return [phrase for phrase, holds in phrases.items() if holds]


def unwrap(content: Any, model: Tensors) -> Unwrapped | None:
    """Returns the state dict in `content` that fits a model best, or None if it has no such name.

    That is the one with the most names of the model, then with the most tensors of its shapes.

    Nested dictionaries are searched, segments of wrappers are removed from names, and p_orig with
    p_mask become p, their product, which is 0 where the mask is. Any prefix of whole segments is
    removed. Of several that are equally good, the exponential moving average is taken (a key such
    as model_ema), as timm does.

    >>> import torch
    >>> content = {"epoch": 3, "state_dict": {"module.fc.bias": torch.ones(2)}}
    >>> found = unwrap(content, {"fc.bias": torch.zeros(2)})
    >>> found.tensors, found.describe()
    ({'fc.bias': tensor([1., 1.])}, ['read from state_dict', 'without the prefix module.'])

    Args:
        content: what a file holds.
        model: the model's own tensors by name.

    Raises:
        ValueError: several state dicts have all names and shapes.
    """
    found: list[tuple[tuple[int, int], Unwrapped]] = []
    for path, state in _states(content):
        bare, wrappers = _without_wrappers(state, model)
        plain, pruned = _without_masks(bare, model)
        for prefix, count in _prefixes(plain, model).items():
            inside = {n.removeprefix(prefix): v for n, v in plain.items() if n.startswith(prefix)}
            left_out = [name for name in plain if not name.startswith(prefix)]
            alike = sum(_shape(inside.get(name)) == own.shape for name, own in model.items())
            one = Unwrapped(inside, path, prefix, wrappers, pruned, left_out)
            found.append(((count, alike), one))
    most = max((fit for fit, _ in found), default=None)
    best = [one for fit, one in found if fit == most]
    best = [one for one in best if _is_average(one.path)] or best
    if len(best) > 1 and most == (len(model), len(model)):
        places = [".".join([*one.path, one.prefix]).rstrip(".") or "bare names" for one in best]
        raise ValueError(f"it holds several states that fit: {' and '.join(places)}")
    return best[0] if best else None


def _shape(value: Any) -> torch.Size | None:
    return value.shape if isinstance(value, Tensor) else None


def _is_average(path: tuple[str, ...]) -> bool:
    """Returns True below a key such as model_ema: an exponential moving average."""
    return any("ema" in key.lower().split("_") for key in path)


def _states(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields every dictionary that holds tensors, with the keys that lead to it."""
    if not isinstance(content, Mapping):
        return
    named = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {k: v for k, v in named.items() if isinstance(v, Tensor) or "_extra_state" in k}
    if tensors:
        yield path, tensors
    for key, value in named.items():
        if len(path) < DEPTH:
            yield from _states(value, (*path, key))


def _without_wrappers(
    state: dict[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Removes segments of wrappers from names, and returns which were there."""
    own, theirs = ({part for name in some for part in name.split(".")} for some in (names, state))
    wrappers = [part for part in WRAPPERS if part in theirs - own]
    plain = {
        ".".join(part for part in name.split(".") if part not in wrappers): value
        for name, value in state.items()
    }
    return plain, wrappers


def _without_masks(
    state: dict[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Replaces p_orig and p_mask by p, and returns the names of all p; 0 where the mask is 0."""
    if any(name.endswith("_orig") for name in names):  # the model itself is in that form
        return state, []
    stems = [name.removesuffix("_orig") for name in state if name.endswith("_orig")]
    pruned = [stem for stem in stems if f"{stem}_mask" in state]
    rest = {n: v for n, v in state.items() if n.removesuffix("_orig") not in pruned}
    rest = {n: v for n, v in rest.items() if n.removesuffix("_mask") not in pruned}
    for stem in pruned:
        weight, mask = state[f"{stem}_orig"], state[f"{stem}_mask"]
        # A product would be NaN for an infinite weight, and -0 for a negative one.
        rest[stem] = torch.where(mask != 0, weight, torch.zeros_like(weight))
    return rest, pruned


def _prefixes(state: dict[str, Any], names: Collection[str]) -> Counter[str]:
    """Counts the names that are the model's behind each prefix of whole segments."""
    known, counts = set(names), Counter[str]()
    for name in state:
        segments = name.split(".")
        for first in range(len(segments)):
            if (rest := ".".join(segments[first:])) in known:
                counts[name.removesuffix(rest)] += 1
    return counts
