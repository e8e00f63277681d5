"""GPUs of this machine, handed out to worker processes by lock files."""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from harness.launch.backends.local_ranks import count_of
from harness.system.leases import LOCK
from harness.system.locks import Busy, locked, watch
from harness.system.names import check_name
from harness.vocabulary.checks import check

VISIBLE = "CUDA_VISIBLE_DEVICES"
# The places that this process holds, until it ends.
_held = ExitStack()
_taken: list[str] = []


@dataclass(frozen=True)
class Devices:
    """names: as CUDA_VISIBLE_DEVICES has them, each of one device or, for runs of several ranks,
    of several; none where runs use the CPU. runs_per_gpu: runs on one of them at once."""

    names: tuple[str, ...] = ()
    runs_per_gpu: int = 1

    def __post_init__(self) -> None:
        for device in ",".join(self.names).split(",") if self.names else []:
            check_name("launch.devices", _file_of(device))
        check("launch.runs_per_gpu", self.runs_per_gpu, "a whole number >= 1")
        if len(set(self.names)) < len(self.names):
            raise ValueError(
                f"launch.devices names a device twice: {', '.join(self.names)}; for several runs "
                "on each raise launch.runs_per_gpu"
            )

    @property
    def places(self) -> int:
        return len(self.names) * self.runs_per_gpu

    def take(self, home: Path | None = None) -> None:
        """Makes the devices of one name this process's only ones, for as long as it lives.

        Before torch touches CUDA. home: folder of the locks; theirs is this machine alone.

        Raises:
            Busy: all places are taken, by this sweep or another.
        """
        if not self.names or _taken:
            return
        home = home or Path(tempfile.gettempdir()) / f"pruning-harness-devices-{os.getuid()}"
        if not self._took_one(home):
            watch(home.glob(f"*/{LOCK}"))  # of those before the machine's last start
            if not self._took_one(home):
                raise Busy(
                    f"all {self.places} places on devices {', '.join(self.names)} are taken; wait "
                    "for the runs there, raise launch.runs_per_gpu, or name other devices in "
                    "launch.devices"
                )

    def _took_one(self, home: Path) -> bool:
        for place in range(self.runs_per_gpu):
            for name in self.names:
                if _hold([home / f"{_file_of(device)}-{place}" for device in name.split(",")]):
                    _taken.append(name)
                    os.environ[VISIBLE] = name
                    return True
        return False


def devices_of(config: dict[str, object]) -> Devices:
    """What a config's `device` and `launch` node say.

    Raises:
        ValueError: launch.devices is neither null nor a list of devices, or a count is none.
    """
    launch = config["launch"]
    if not isinstance(launch, dict):
        raise ValueError(f"launch must hold keys and values, got {launch!r}; see conf/config.yaml")
    names, each, together = launch["devices"], launch["runs_per_gpu"], count_of(config)
    if names is not None and not isinstance(names, list):
        raise ValueError(
            f"launch.devices must be a list or null, got {names!r}; write launch.devices=[{names}]"
        )
    if names == []:
        raise ValueError("launch.devices=[] names no device; write device=cpu to use none")
    found = _visible() if names is None else tuple(str(name) for name in names)
    if config["device"] == "cpu" or not found:
        return Devices((), each)
    if len(found) < together:
        raise ValueError(
            f"launch.ranks_per_run={together}, but a sweep's runs have {len(found)} GPUs "
            f"({', '.join(found)}); start fewer ranks, or name more in launch.devices"
        )
    ends = range(together, len(found) + 1, together)
    return Devices(tuple(",".join(found[end - together : end]) for end in ends), each)


def _file_of(device: str) -> str:
    """Of its lock: a part of a GPU is called MIG-GPU-5d5b/1/0 by older drivers."""
    return device.strip().replace("/", "_")


def _visible() -> tuple[str, ...]:
    """Of CUDA, without asking torch, which would take a second and a part of every device."""
    if VISIBLE in os.environ:
        named = (name.strip() for name in os.environ[VISIBLE].split(","))
        # CUDA, too, sees none from the first that does not exist.
        return tuple(takewhile(lambda name: name and not name.startswith("-"), named))
    cards = Path("/proc/driver/nvidia/gpus")
    return tuple(map(str, range(len(list(cards.iterdir()))))) if cards.is_dir() else ()


def _hold(places: list[Path]) -> bool:
    """All of them or none."""
    with ExitStack() as held:
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(locked(place, wait=False))
            except Busy:
                return False
        _held.enter_context(held.pop_all())
    return True
