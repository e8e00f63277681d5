"""Dense training, once for all methods: states by epoch, kept in a cache that jobs share."""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from torch import nn

from harness.checkpoints import STEP, Checkpoints
from harness.files import Busy, locked, write_whole
from harness.tensors import Tensors, copied
from harness.training.journal import Journal
from harness.training.setting import Hooks, LoopState, Setting
from harness.training.trainer import Trainer

SECONDS_BETWEEN_TRIES = 0.1

# What safetensors, torch.load and load_state_dict raise on files that are not a model's weights.
UNREADABLE = (
    OSError, EOFError, RuntimeError, AttributeError, KeyError, TypeError, UnpicklingError,
    safetensors.SafetensorError,
)  # fmt: skip


OnEpoch = Callable[[int, nn.Module], None]


@dataclass(frozen=True)
class DenseTraining:
    """State of the network after k epochs of dense training, for any k.

    folder: named by the hash of all that decides the training (model, data, recipe, seed,
    numerics key). What is missing there is trained by whoever needs it first; others wait, and
    go on where it stopped if it was interrupted.
    keep: epochs that are stored on the way, for later rewinding.
    journal: None saves nothing before the end.
    foreign: the folder was made under another numerics key; it is read, nothing is trained.
    """

    folder: Path
    trainer: Trainer
    setting: Setting
    build: Callable[[], nn.Module]
    keep: Collection[int]
    journal: Journal | None = None
    foreign: bool = False

    def has(self, epoch: int) -> bool:
        """Whether `at(epoch)` will find it without training."""
        return epoch == 0 or self._file(epoch).exists()

    def at(self, epoch: int, on_epoch: OnEpoch | None = None) -> Tensors:
        """Parameters and buffers after `epoch` epochs, 0 being the initial network.

        A missing epoch is trained from the start again, bit for bit. `on_epoch(done, model)` is
        called while training.

        Raises:
            ValueError: epoch is beyond the recipe, or missing in a foreign folder.
            Stopped: a signal asked for it; what was trained is saved.
        """
        if not 0 <= epoch <= self.trainer.epochs:
            raise ValueError(
                f"epoch {epoch} is not in dense training, which has {self.trainer.epochs} epochs; "
                "rewind to an earlier one or raise training.epochs"
            )
        model = self.build()
        if epoch == 0:
            return copied(model.state_dict())
        with self._turn():
            return self._load_or_train(model, epoch, on_epoch)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While no other job is in the folder. Ranks ask again and again: a collective in which
        all others waited for rank 0 would time out."""
        ranks = self.setting.ranks
        with ExitStack() as stack:
            while not ranks.on_main(lambda: self._enter(stack)):
                if self.journal:
                    self.journal.stop_if_asked()
                time.sleep(SECONDS_BETWEEN_TRIES)
            yield

    def _enter(self, stack: ExitStack) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(locked(self.folder, wait=False))
        except Busy:
            return False
        return True

    def _load_or_train(self, model: nn.Module, epoch: int, on_epoch: OnEpoch | None) -> Tensors:
        ranks = self.setting.ranks
        stored = self._stored(epoch) if ranks.is_main else None
        if not ranks.send_object(stored is not None):
            self._train(model, epoch, on_epoch)
        elif stored is not None:
            model.load_state_dict(stored)
        state = model.state_dict()
        ranks.send(list(state.values()))
        return copied(state)

    def _train(self, model: nn.Module, stop: int, on_epoch: OnEpoch | None) -> None:
        if self.foreign:
            raise ValueError(
                f"epoch {stop} of dense training is not on disk, and this run's was made under "
                "other numerics (ranks, threads, device or torch); start it as it was started, or "
                "delete its folder"
            )

        def epoch_end(done: int) -> None:
            if done == stop or done in self.keep:
                self.setting.ranks.on_main(lambda: self._store(model, done))
            if on_epoch:
                on_epoch(done, model)

        hooks, resumed = Hooks(epoch_end=epoch_end), None
        if self.journal:
            files = self.journal.files(self.folder)
            saver = DenseSaver(self.journal, files, model)
            hooks = replace(hooks, saver=saver)
            resumed = self.journal.newest(files, lambda state: _beyond(state, stop))
        self.trainer.fit(model, self.setting, hooks, stop=stop, resumed=resumed)
        if self.journal and stop == self.trainer.epochs:
            self.setting.ranks.on_main(files.clear)

    def _store(self, model: nn.Module, done: int) -> None:
        state = copied(model.state_dict())
        facts = {"sha256": _checksum(state)}
        write_whole(self._file(done), safetensors.torch.save(state, metadata=facts))

    def _stored(self, epoch: int) -> Tensors | None:
        """The stored state; None if there is none, or a damaged one: it is then trained again."""
        path = self._file(epoch)
        if not path.exists():
            return None
        try:
            state = safetensors.torch.load_file(path)
            with safetensors.safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
        except UNREADABLE:
            return None
        return state if facts.get("sha256") == _checksum(state) else None

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:05d}.safetensors"


@dataclass(frozen=True)
class DenseSaver:
    """Keeps dense training's state in its cache, where any job may take it up."""

    journal: Journal
    files: Checkpoints
    model: nn.Module

    def due(self, step: int) -> bool:
        return self.journal.due(step)

    def save(self, epoch: int, step: int, state: Callable[[], LoopState]) -> None:
        self.journal.compare_weights(self.model, epoch, step)
        self.journal.save(self.files, f"epoch-{epoch:05d}-step-{step:06d}", STEP, state())


def _beyond(state: LoopState, stop: int) -> str:
    at = f"epoch {state['epoch']}, step {state['step']}"
    return f"is of {at}, not before epoch {stop}'s end" if state["epoch"] >= stop else ""


def build_seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A new model whose random weights seed alone decides; global streams stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _checksum(state: Tensors) -> str:
    parts = hashlib.sha256()
    for name in sorted(state):
        parts.update(name.encode())
        parts.update(state[name].cpu().view(-1).view(torch.uint8).numpy().tobytes())
    return parts.hexdigest()


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a .safetensors file or a state dict saved by torch.save into the model, by name.

    Raises:
        ValueError: the file is missing or unreadable, or its tensors are not the model's.
    """
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except UNREADABLE as error:
        raise ValueError(
            f"weights={path} does not fit {type(model).__name__}: {_reason(error)}; give a file "
            "with exactly the model's state_dict"
        ) from error


def _reason(error: Exception) -> str:
    """At most the first two of torch's lines: it has one per tensor that does not fit."""
    if not isinstance(error, OSError | RuntimeError | safetensors.SafetensorError):
        return "it holds no plain dict of tensors"
    first, *rest = (line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip())
    more = f", and {len(rest) - 1} more lines like this" if len(rest) > 1 else ""
    return ": ".join([first, *rest[:1]]) + more
