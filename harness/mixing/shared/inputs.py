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


def check_images(inputs: Tensor, mixing: str) -> tuple[int, int]:
    """Returns height and width of images (samples, channels, height, width).

    Raises:
        ValueError: the inputs have another shape.
    """
    if inputs.dim() != 4:
        raise ValueError(
            f"mixing={mixing} needs images (samples, channels, height, width), got inputs of shape "
            f"{tuple(inputs.shape)}; choose mixing=mixup, or none"
        )
    height, width = inputs.shape[2:]
    return height, width
