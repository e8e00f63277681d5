from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from harness.extras import check_extra
from harness.models.shared.caches import hub_file
from harness.models.shared.library_model import check_name, library_model, sized
from harness.vocabulary.checks import check_declared

USER = "model=torchvision"
# With init_weights left out, both warn that its default may change.
NO_AUXILIARY = {"aux_logits": False, "init_weights": True}
AUXILIARY = dict.fromkeys(("googlenet", "inception_v3"), NO_AUXILIARY)


@dataclass(frozen=True)
class Torchvision:
    """Builds a network of torchvision.models for image classification, by its name there.

    num_classes is that of the data. Networks that take the size of an image (ViT, MaxViT) get that
    of the data. All have three channels. GoogLeNet and Inception have no auxiliary classifiers,
    unless options ask for them: the loss is that of the logits alone.

    options: further arguments of the library's function.
    pretrained: entry of its weights that weights=pretrained takes, such as IMAGENET1K_V1; null: the
        library's default.

    Source: github.com/pytorch/vision; the weights are drawn as there.

    Raises:
        ValueError: torchvision has no such network, or it does not take the data.
    """

    name: Annotated[str, "text of 1 to 200 characters; write e.g. resnet50"]
    options: Mapping[str, Any] | None = None
    pretrained: str | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        models = self._models()
        arguments = {**AUXILIARY.get(self.name, {}), "num_classes": classes, **(self.options or {})}
        return library_model(
            f"{USER} model.name={self.name}",
            sized(
                partial(models.get_model, self.name, weights=None, **arguments), self.options or ()
            ),
            shape,
            classes,
        )

    def pretrained_file(self) -> Path:
        """Returns the file of pretrained weights in the cache of torch.hub; downloads nothing.

        Raises:
            ValueError: the network has no such weights, or the file is not there.
        """
        entries = self._models().get_model_weights(self.name)
        chosen = self.pretrained or "DEFAULT"
        if chosen not in entries.__members__:
            raise ValueError(
                f"model.pretrained={chosen}: {self.name} has {', '.join(entries.__members__)}"
            )
        url = str(entries[chosen].url)
        return hub_file(f"{USER} model.name={self.name}", url)

    def _models(self) -> Any:
        check_extra("data", USER, "torchvision")
        from torchvision import models

        names = models.list_models(module=models)
        check_name("model.name", self.name, names, f"{USER} has those of torchvision.models")
        return models
