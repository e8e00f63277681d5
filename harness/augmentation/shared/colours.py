"""Changes values of pixels of a batch of pictures, each by a strength of its own.

Pictures are uint8, (samples, 1 or 3 channels, height, width). Results are those of torchvision's
functional transforms, pixel by pixel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

GRAY = (0.2989, 0.587, 0.114)  # shares of red, green and blue (ITU-R BT.601)


def brightened(pictures: Tensor, factors: Tensor) -> Tensor:
    return _bytes(pictures * _each(factors))


def saturated(pictures: Tensor, factors: Tensor) -> Tensor:
    if pictures.shape[1] == 1:
        return pictures
    return _bytes(_blended(pictures, gray_of(pictures), factors))


def contrasted(pictures: Tensor, factors: Tensor) -> Tensor:
    means = gray_of(pictures).mean(dim=(1, 2, 3), keepdim=True)
    return _bytes(_blended(pictures, means, factors))


def sharpened(pictures: Tensor, factors: Tensor) -> Tensor:
    """Blends with the mean of 3 x 3 pixels, the middle one counted five times; edges stay."""
    if min(pictures.shape[2:]) <= 2:
        return pictures
    exact = pictures.float()
    channels = pictures.shape[1]
    kernel = exact.new_full((channels, 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    smooth = F.conv2d(exact, kernel, groups=channels).round()
    inner = exact[..., 1:-1, 1:-1]
    inner.addcmul_(_each(1 - factors), smooth - inner)
    return _bytes(exact)


def posterized(pictures: Tensor, bits: int) -> Tensor:
    return pictures & (256 - (1 << 8 - bits))


def solarized(pictures: Tensor, threshold: float) -> Tensor:
    return torch.where(pictures >= threshold, 255 - pictures, pictures)


def autocontrasted(pictures: Tensor) -> Tensor:
    """Stretches the values of each channel to 0 to 255, unless all are equal."""
    low, high = _extremes(pictures)
    equal = low == high
    scale = torch.where(equal, 1.0, (high - low) * (1 / 255))
    return _bytes((pictures - torch.where(equal, 0.0, low)) / scale)


def equalized(pictures: Tensor) -> Tensor:
    """Spreads the values of each channel so that each range of them is equally frequent."""
    values = pictures.flatten(2).long()
    counts = values.new_zeros((*values.shape[:2], 256)).scatter_add_(2, values, values * 0 + 1)
    sums = counts.cumsum(dim=2)
    most = counts.gather(2, sums.argmax(dim=2, keepdim=True))  # of the largest value that occurs
    step = (values.shape[2] - most) // 255
    below = F.pad(sums[..., :-1], (1, 0))
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    found = table.gather(2, values).byte().view_as(pictures)
    return torch.where(step.unsqueeze(3) > 0, found, pictures)


def gray_of(pictures: Tensor) -> Tensor:
    """Returns the brightness of each pixel, a whole number: float32, one channel."""
    exact = pictures.float()
    if pictures.shape[1] == 1:
        return exact
    red, green, blue = exact.unbind(1)
    gray = (red * GRAY[0]).add(green, alpha=GRAY[1]).add(blue, alpha=GRAY[2])
    return gray.floor().unsqueeze(1)


def _extremes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    exact = pictures.float()
    return exact.amin(dim=(2, 3), keepdim=True), exact.amax(dim=(2, 3), keepdim=True)


def _blended(pictures: Tensor, base: Tensor, factors: Tensor) -> Tensor:
    return (pictures * _each(factors)).addcmul(base, _each(1 - factors))


def _each(factors: Tensor) -> Tensor:
    return factors.float()[:, None, None, None]


def _bytes(values: Tensor) -> Tensor:
    return values.clamp(0, 255).byte()
