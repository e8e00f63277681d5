"""Checks inputs that are mixed."""

from torch import Tensor


def check_real(inputs: Tensor, mixing: str) -> None:
    """Checks that weighted means of inputs make sense.

    Raises:
        ValueError: the inputs are whole numbers, such as ids of tokens.
    """
    if not inputs.is_floating_point():
        raise ValueError(
            f"mixing={mixing} needs inputs of real numbers, got {inputs.dtype}; leave mixing out "
            "for this data"
        )
