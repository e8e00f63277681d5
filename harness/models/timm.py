from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from harness.extras import check_extra
from harness.models.shared.caches import hub_file, snapshot_file
from harness.models.shared.library_model import check_name, library_model, sized
from harness.vocabulary.checks import check_declared

USER = "model=timm"


@dataclass(frozen=True)
class Timm:
    """Builds a network of timm for image classification, by its name there.

    num_classes and in_chans are those of the data. Networks that take the size of an image get that
    of the data. weights=pretrained takes the weights that the name stands for.

    options: further arguments of timm.create_model.

    Source: github.com/huggingface/pytorch-image-models; the weights are drawn as there.

    Raises:
        ValueError: timm has no such network, or it does not take the data.
    """

    name: Annotated[str, "text of 1 to 200 characters; write e.g. resnet18"]
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        timm = self._timm()
        arguments = {"num_classes": classes, "in_chans": shape[0], **(self.options or {})}
        return library_model(
            f"{USER} model.name={self.name}",
            sized(partial(timm.create_model, self.name, **arguments), self.options or ()),
            shape,
            classes,
        )

    def pretrained_file(self) -> Path:
        """Returns the file of pretrained weights in the local caches; downloads nothing.

        Raises:
            ValueError: the network has no weights, or they are not there.
        """
        user = f"{USER} model.name={self.name}"
        config = self._timm().get_pretrained_cfg(self.name)
        if config is None or not (config.hf_hub_id or config.url):
            raise ValueError(f"weights=pretrained: {user} has no weights; give weights=FILE")
        if config.hf_hub_id:
            return snapshot_file(user, config.hf_hub_id, config.hf_hub_filename)
        return hub_file(user, config.url)

    def _timm(self) -> Any:
        check_extra("timm", USER)
        import timm

        names = [*timm.list_models(), *timm.list_pretrained()]
        check_name("model.name", self.name, names, f"{USER} has those of timm.list_models()")
        return timm
