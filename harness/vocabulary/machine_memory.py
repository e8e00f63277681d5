"""Says how much memory this machine has."""

import os
from contextlib import suppress


def memory_bytes() -> float:
    """Returns the bytes of main memory, or inf where the system does not say."""
    with suppress(AttributeError, ValueError, OSError):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return float("inf")
