"""Says on which operating systems the harness runs."""

import sys

SUPPORTED = ("linux", "darwin")  # as sys.platform has them; tested on the first


def refusal() -> str:
    """Returns why this operating system cannot be used, or "" where it can."""
    if sys.platform in SUPPORTED:
        return ""
    return (
        f"sys.platform={sys.platform}: pruning-harness needs Linux, or macOS with less testing; "
        "on Windows install it inside WSL"
    )
