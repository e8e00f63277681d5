"""Derives every random stream from one seed, by purpose."""

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """Returns the first 63 bits of SHA-256 over "seed/purpose/...".

    Streams of different purposes are independent, and equal on every machine.

    Purposes in use: ("init",), ("order", level, epoch), ("calibration",), ("saliency", name),
    ("saliency", name, probe), ("reinit", level), ("dropout", level, epoch, rank), ("augmentation",
    level, epoch), ("mixing", level, epoch), ("prune", level), ("control", kind, name), ("grow",
    step, name), ("dynamics", level), ("transforms", level, epoch), of which ("sample", index) is
    derived. A level's training with a penalty has level "1/penalty", and the inputs of a
    recalibration are in the order of level "recalibration". Python's hash() differs between
    processes and is never used.

    >>> derive(0, "init") == derive(0, "init"), derive(0, "init") == derive(1, "init")
    (True, False)
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
