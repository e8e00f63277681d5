"""Checks that inputs are images."""

from torch import Tensor


def check_images(inputs: Tensor, source: str, remedy: str) -> tuple[int, int]:
    """Returns height and width of images (samples, channels, height, width).

    Args:
        inputs: what should be images.
        source: what needs them, for the message.
        remedy: what to do otherwise, for the message.

    Raises:
        ValueError: the inputs have another shape.
    """
    if inputs.dim() != 4:
        raise ValueError(
            f"{source} needs images (samples, channels, height, width), got inputs of shape "
            f"{tuple(inputs.shape)}; {remedy}"
        )
    height, width = inputs.shape[2:]
    return height, width
