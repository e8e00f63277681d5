from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from torch import nn

from harness.extras import check_extra
from harness.models.base import check_images
from harness.vocabulary.checks import check_declared


@dataclass(frozen=True)
class Torchvision:
    """Builds a network of torchvision for classes of images, by its name there.

    Its weights are random; `weights=FILE` gives it those of torchvision, or your own. Inputs are
    (3, height, width).

    Source: torchvision.models.get_model.

    Raises:
        ValueError: torchvision has no such network.
    """

    name: Annotated[str, "text of 1 to 64 characters; write e.g. resnet18"] = "resnet18"

    def __post_init__(self) -> None:
        check_declared(self)
        check_extra("data", "model=torchvision", "torchvision")
        import torchvision

        known = torchvision.models.list_models(module=torchvision.models)
        if self.name not in known:
            near = get_close_matches(self.name.lower(), known, n=1) or ["resnet18"]
            raise ValueError(
                f"model.name={self.name!r} is no network of torchvision for classes; did you mean "
                f"{near[0]}?"
            )

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        check_images("torchvision", shape, classes)
        if shape[0] != 3:
            raise ValueError(
                f"model={self.name} needs inputs (3, height, width), got {tuple(shape)}; with "
                "data=image_folder write data.channels=3"
            )
        import torchvision

        model: nn.Module = torchvision.models.get_model(self.name, num_classes=classes)
        return model
