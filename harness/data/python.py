from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from harness.data.base import Splits
from harness.data.shared.any_samples import Scale, any_splits, named_parts
from harness.data.shared.dividing import FRACTION
from harness.data.shared.prepare import SEED
from harness.data.shared.transforms import train_transforms
from harness.vocabulary.checks import check_declared
from harness.vocabulary.given.own_target import check_arguments, import_target

MOMENT = "a number in [-1000000, 1000000]"


@dataclass(frozen=True)
class Python:
    """Reads data sets of your own: target(**options) returns map-style data sets of torch.

    The target returns one data set, (train, test), (train, validation, test), or a dict by these
    names. Parts that it does not return are drawn from training. A sample is (inputs, label):
    tensors, arrays, numbers or pictures, and inputs may be a dict of tensors.

    target: pkg.module:factory, which is imported.
    classes: of the labels; null counts them. All samples are read for it, unless the data set has
        them as `targets` or `labels`.
    mean, std: per channel, of uint8 inputs / 255; null leaves inputs as they are.
    transforms: of training inputs: names of torchvision.transforms.v2 with their arguments.
    paths: files and folders that the target reads; their bytes then name the run, and not those of
        all samples.

    Raises:
        ValueError: the target cannot be imported or called, or returns something else.
    """

    target: Annotated[str, "text of 3 to 1000 characters; write pkg.module:factory"]
    options: Mapping[str, Any] | None = None
    classes: Annotated[int, "a whole number in [1, 1000000]"] | None = None
    validation: Annotated[float, FRACTION] = 0.1
    test: Annotated[float, FRACTION] = 0.2
    split_seed: Annotated[int, SEED] = 0
    mean: Sequence[Annotated[float, MOMENT]] | None = None
    std: Sequence[Annotated[float, "a number above 0"]] | None = None
    transforms: Sequence[str | Mapping[str, Any]] | None = None
    paths: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_declared(self)
        if (self.mean is None) != (self.std is None):
            raise ValueError(
                "data.mean and data.std must be given together; or write null for both"
            )
        import_target("data.target", self.target)

    @property
    def short_name(self) -> str:
        return self.target.rpartition(":")[2]

    def files(self) -> list[Path] | None:
        """Returns the files that the target reads; None if it does not say.

        Raises:
            ValueError: there is no such file or folder.
        """
        if self.paths is None:
            return None
        found = []
        for path in map(Path, self.paths):
            if not path.exists():
                raise ValueError(f"data.paths: there is no {path}; name what the target reads")
            inside = path.rglob("*") if path.is_dir() else [path]
            found += sorted(file for file in inside if file.is_file())
        return found

    def load(self) -> Splits:
        factory = import_target("data.target", self.target)
        arguments = dict(self.options or {})
        check_arguments("data.target", self.target, factory, arguments)
        made = factory(**arguments)
        if isinstance(made, Splits):
            return made
        return any_splits(
            named_parts(made, f"data.target={self.target}"),
            {"validation": self.validation, "test": self.test},
            self.split_seed, self.classes, self._scale, train_transforms(self.transforms),
        )  # fmt: skip

    def _scale(self, train: object) -> Scale | None:
        return None if self.mean is None or self.std is None else (self.mean, self.std)
