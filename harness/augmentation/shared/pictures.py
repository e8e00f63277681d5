"""Checks that inputs are pictures."""

from torch import Tensor


def check_pictures(inputs: Tensor, augmentation: str) -> tuple[int, int]:
    """Returns height and width of pictures (samples, channels, height, width).

    Raises:
        ValueError: the inputs have another shape.
    """
    if inputs.dim() != 4:
        raise ValueError(
            f"{augmentation} needs images (samples, channels, height, width), got inputs of shape "
            f"{tuple(inputs.shape)}; choose image data, or no augmentation"
        )
    height, width = inputs.shape[2:]
    return height, width


def check_largest(key: str, value: int, largest: int, shape: tuple[int, int]) -> None:
    """Checks a number of pixels against the pictures.

    Raises:
        ValueError: it is above the largest that they allow.
    """
    if value > largest:
        raise ValueError(
            f"{key}={value} is too large for pictures of {shape[0]} x {shape[1]} pixels; write at "
            f"most {largest}"
        )
