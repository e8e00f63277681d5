"""What each part of an experiment must offer, and which do not go together; a protocol's own check
would not name the key."""

from collections.abc import Mapping
from typing import Any

OFFERS = {
    "model": ("build",),
    "data": ("load",),
    "task": ("loss", "measure"),
    "training": ("fit", "check_ranks"),
    "retraining": ("fit", "check_ranks"),
    "saliency": ("granularity", "evidence", "score"),
    "structure": ("granularity", "units", "pool", "expand"),
    "allocation": ("allocate",),
    "schedule": ("unit", "shares", "during", "varies", "may_grow"),
    "finetune": ("plan", "moments", "weights"),
}
OPTIONAL = {
    "dynamics": ("may_grow", "releases", "check"),
    "exchange": ("updates", "looks", "look", "swap"),
    "penalty": ("epochs", "names_units", "check", "adder"),
    "recalibration": ("samples", "batch_size", "check", "apply"),
    "distillation": ("loss",),
}


def check_offers(parts: Mapping[str, object]) -> None:
    """
    Raises:
        ValueError: a part lacks something of its protocol.
    """
    chosen = {key: names for key, names in OPTIONAL.items() if parts.get(key) is not None}
    for key, names in (OFFERS | chosen).items():
        if key not in parts:
            continue
        part = parts[key]
        missing = [name for name in names if not hasattr(part, name)]
        if missing:
            raise ValueError(
                f"{key}: {type(part).__name__} has no {missing[0]}; every {key} has "
                f"{', '.join(names)} (see base.py in its folder)"
            )


def check_fit(saliency: Any, structure: Any, allocation: Any) -> None:
    """
    Raises:
        ValueError: the three do not go together in one pruning.
    """
    if getattr(allocation, "needs_sizes", False) and getattr(saliency, "signed", False):
        raise ValueError(
            f"allocation {type(allocation).__name__} needs scores that measure size, and "
            f"those of saliency {type(saliency).__name__} are signed; use another one"
        )
    if saliency.granularity == "unit" and structure.granularity == "weight":
        raise ValueError(
            f"saliency {type(saliency).__name__} scores whole units and structure "
            f"{type(structure).__name__} prunes single weights; "
            "use structure=filter, neuron or row"
        )
