from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from harness.extras import check_extra
from harness.models.shared.caches import WEIGHTS, cached_file, snapshot_file
from harness.models.shared.library_model import check_name, library_model
from harness.vocabulary.checks import check_declared

USER = "model=transformers"
CONFIG = "config.json"


@dataclass(frozen=True)
class Transformers:
    """Builds a network of transformers for image classification, and returns its logits.

    name is a type of model (resnet, vit, ...) with its default config, a folder with a config.json,
    or a Hugging Face repository in the local cache. num_labels is that of the data, and so are
    num_channels and image_size where the config has them. Code of a repository is not executed.
    weights=pretrained takes the weights beside the config.json.

    options: further fields of the config, such as {hidden_size: 192}.

    Source: github.com/huggingface/transformers, AutoModelForImageClassification; the weights are
    drawn as there.

    Raises:
        ValueError: there is no such type, folder or repository, or it does not take the data.
    """

    name: Annotated[str, "text of 1 to 1000 characters; write e.g. vit, or a folder"]
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_declared(self)

    @property
    def short_name(self) -> str:
        return Path(self.name).name

    def files(self) -> list[Path]:
        """Returns the files that decide the network: its config.json, if it has one."""
        folder = self._folder()
        return [folder / CONFIG] if folder else []

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        folder = self._folder()
        from transformers import AutoModelForImageClassification

        auto: Any = AutoModelForImageClassification  # its methods are not typed
        return library_model(
            f"{USER} model.name={self.name}",
            lambda sample: auto.from_config(self._config(folder, sample, classes)),
            shape,
            classes,
        )

    def pretrained_file(self) -> Path:
        """Returns the file of weights beside the config.json; downloads nothing.

        Raises:
            ValueError: there is none.
        """
        user, folder = f"{USER} model.name={self.name}", self._folder()
        if folder is None:
            raise ValueError(
                f"weights=pretrained: {user} is a type of model, without weights; name a folder "
                "or repository that has them, or give weights=FILE"
            )
        found = [folder / name for name in WEIGHTS if (folder / name).is_file()]
        if not found and Path(self.name).is_dir():
            raise ValueError(
                f"weights=pretrained: {user} has no {' or '.join(WEIGHTS)}; put it there as one "
                "file, or give weights=FILE"
            )
        return found[0] if found else snapshot_file(user, self.name)

    def _config(self, folder: Path | None, shape: tuple[int, ...], classes: int) -> Any:
        from transformers import AutoConfig

        if folder:
            config = AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, num_labels=classes
            )
        else:
            config = AutoConfig.for_model(self.name, num_labels=classes)
        channels, height, width = shape
        size = height if height == width else [height, width]
        options = {**(self.options or {})}
        for key, value in {"num_channels": channels, "image_size": size, **options}.items():
            if key in options or hasattr(config, key):
                setattr(config, key, value)
        return config

    def _folder(self) -> Path | None:
        """Returns the folder of the config.json, or None for a type of model.

        Raises:
            ValueError: the name is neither.
        """
        check_extra("transformers", USER)
        from huggingface_hub.constants import HF_HUB_CACHE
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES,
        )

        given = Path(self.name)
        if (given / CONFIG).is_file():
            return given
        if self.name in TYPES:
            return None
        is_repository = self.name.count("/") == 1 and not given.exists()
        if is_repository and (file := cached_file(self.name, CONFIG)):
            return file.parent
        remedy = (
            f"or give a folder with a {CONFIG}, or bring a repository into {HF_HUB_CACHE} with "
            f"`hf download REPOSITORY`"
        )
        check_name("model.name", self.name, TYPES, remedy)
        return None
