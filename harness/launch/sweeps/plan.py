"""A sweep's points, as a file: written before the first run, read when the sweep starts again."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.launch.digests.data import DigestOf, with_data
from harness.launch.run_spec import RunSpec
from harness.launch.sweeps.planned_run import Planned, marked_of
from harness.launch.trust.stored_parts import check_parts, is_vouched, modules, vouch
from harness.system.atomic_files import write_whole
from harness.system.redaction import restored

DAMAGED = (ValueError, KeyError, TypeError, AttributeError)  # what reading such a plan raises


@dataclass(frozen=True)
class Plan:
    """
    file: where it is kept. name: of the grid in conf/sweep/, or "" for one of the command line.
    argv: of the command that made it. own: this user has made it (harness/launch/trust/
    stored_parts.py); else its argv is not to be given to anybody, and its points build what
    is allowed only.
    """

    file: Path
    name: str
    folder: Path  # of the sweep
    argv: list[str]
    points: list[Planned]
    own: bool = True

    def write(self) -> None:
        """Writes the file, and remembers that this user has made it.

        Raises:
            CannotWrite: the disk is full or read-only.
        """
        head = {"sweep": self.name, "folder": str(self.folder), "argv": self.argv}
        files = {file: sha256_of(file) for point in self.points for file in point.files}
        lines = [{**head, "files": files}, *map(asdict, self.points)]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        write_whole(self.file, content)
        if self.own:
            vouch(self.file, content)

    def with_data(self, digest: DigestOf) -> "Plan":
        """With runs named by their data as they are now; itself if nothing has changed.

        What has become of a run before its data could be read goes with it.
        """
        before = [point.point for point in self.points]
        after = [point for _, point in with_data(enumerate(before), digest)]
        if before == after:
            return self
        whole = zip(self.points, before, after, strict=True)
        for planned, old, new in whole:
            if old.data_sha256 is None and new.data_sha256:
                _move(Path(planned.folder), new.folder)
        said = [point.says for point in self.points]
        plain = [replace(point, shared_stages=[]) for point in after]
        found = zip(range(len(said)), said, plain, strict=True)
        return replace(self, points=marked_of(found, plain[0].values["launch"]["share_stages"]))

    @property
    def unread(self) -> int:
        """Points whose data have not been read: they have no name of their own yet."""
        return sum(point.point.data_sha256 is None for point in self.points)

    def check_home(self) -> None:
        """
        Raises:
            ValueError: what it plans would not happen in the folder where it lies.
        """
        there = self.file.absolute().parents[1]
        if self.folder.resolve() != there.resolve():
            raise ValueError(
                f"{self.file} was made for runs in {self.folder}, which is not {there} as seen "
                "from here; start the command in the folder where the plan was made"
            )
        for each in self.points if not self.own else []:
            if each.point.folder.resolve() != Path(each.folder).resolve():
                raise ValueError(
                    f"{self.file}: the run {each.says} would lie in {each.point.folder}, not in "
                    f"{each.folder}; somebody has changed this plan"
                )

    @classmethod
    def read(cls, path: Path, trust: Sequence[str] = ()) -> "Plan":
        """Its points are found beside it, from whatever folder it is read.

        trust: modules whose parts it may build, beside the harness's own, unless this user has
        made it.

        Raises:
            ValueError: there is no such file, it is no plan, or it builds what is not allowed.
        """
        modules(trust)
        try:
            content = path.read_bytes()
            head, *lines = content.decode().splitlines()
            found = json.loads(head)
            folder, home = Path(found["folder"]), path.parent.parent
            points = [_read_point(line, folder, home) for line in lines]
            own = is_vouched(path, content)
            plan = cls(path, found["sweep"], folder, found["argv"], points, own)
            configs = [each.point.config for each in points if not own]
        except (OSError, *DAMAGED) as error:
            raise ValueError(
                f"{path} is no plan of a sweep ({error}); make one with "
                "pruning-harness sweep plan sweep=NAME"
            ) from error
        for config in configs:
            check_parts(config, trust, where=str(path))
        return plan


def inside(folder: Path, found: Iterable[tuple[int, RunSpec]]) -> Iterator[tuple[int, RunSpec]]:
    """The points, once it is clear that they are of this sweep.

    Raises:
        ValueError: one of them lies in another folder.
    """
    for number, point in found:
        if point.sweep_folder != folder:
            raise ValueError(
                f"runs and sweep_name are those of a whole sweep, but one of its runs would be in "
                f"{point.sweep_folder} and not in {folder}; start a sweep for each"
            )
        yield number, point


def _move(old: Path, new: Path) -> None:
    if old.is_dir() and not old.is_symlink() and not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another job of the same plan was quicker
            old.rename(new)


def _read_point(line: str, planned_in: Path, home: Path) -> Planned:
    point = Planned(**json.loads(line))
    return replace(point, folder=str(home / Path(point.folder).relative_to(planned_in)))


def sha256_of(name: str) -> str:
    """Of the content of a file, in whose name environment variables may stand; "" if it is gone."""
    file = Path(restored(name))
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
