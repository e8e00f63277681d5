"""Checks that inputs are pictures."""

from torch import Tensor

from harness.vocabulary.given.images import check_images


def check_pictures(inputs: Tensor, augmentation: str) -> tuple[int, int]:
    """Returns height and width of pictures (samples, channels, height, width).

    Raises:
        ValueError: the inputs have another shape.
    """
    return check_images(inputs, augmentation, "choose image data, or no augmentation")


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
