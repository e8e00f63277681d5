"""What one forward pass does with a network's parameters: torch's operators as they are called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.structure.shared.call import Call
from harness.structure.shared.derived import EMPTY, MOVES, Origins
from harness.structure.shared.joined import Joined
from harness.structure.shared.place import place, storage
from harness.structure.shared.positions import Track, moved, product
from harness.structure.shared.shifts import SHIFTING, counted, per_unit, sends, wide
from harness.structure.shared.traceable import traceable, writable
from harness.vocabulary.nested import tensors_in
from harness.vocabulary.tensors import in_mode

INPUT = "the network's input"  # among the feeders of a layer or a norm


@dataclass(frozen=True)
class Use:
    """A product of a parameter of two dimensions or more with what a pass computed.

    own: its units are the parameter's first dimension, and the rest of the parameter is read.
    along: other parameters that enter the same operator, such as the bias.
    """

    weight: str
    fed: frozenset[str]
    own: bool
    along: tuple[str, ...] = ()


@dataclass(frozen=True)
class Affine:
    """Parameters that scale or shift, one by one, what layers have computed: a norm, a bias.

    A norm without parameters is one too, if it makes something else of a channel that is 0, and so
    is a constant that is added channel by channel.
    track: of the layers' units in what is scaled; None where they lie in no known order.
    dim: the dimension of `shape`, the tensor's, that the parameters count. shifts: it makes
    something else of a channel that is 0. joined: what no layer makes was added to the units or
    concatenated with them (a table of positions, a class token, a constant), and lives in their
    channels when they are gone.
    """

    parameters: tuple[str, ...]
    fed: frozenset[str]
    track: Track | None
    dim: int
    shape: tuple[int, ...]
    shifts: bool
    joined: bool = False

    def fits(self, units: int) -> bool:
        """Whether the i-th entry of each parameter belongs to the i-th unit alone."""
        after = Track.along(self.shape, self.dim).stride
        return self.track == Track(units, after)


@dataclass
class Trace:
    """In the order of the pass. computed: weights that a product took in a form that need not be 0
    where they are; elsewhere: parameters of two dimensions or more that are not used in a product,
    such as a table that is read by index; outputs: the layers that reach the network's outputs
    without another one between."""

    uses: list[Use] = field(default_factory=list)
    affine: list[Affine] = field(default_factory=list)
    computed: dict[str, str] = field(default_factory=dict)  # weight -> operator
    elsewhere: set[str] = field(default_factory=set)
    outputs: frozenset[str] = EMPTY


def trace_of(model: nn.Module, sample: Tensor, training: bool = False) -> Trace:
    """Runs the model once on `sample` (samples, ...); the model comes back as it was.

    training: in training mode, not in eval mode.

    Below autograd, so that what runs without gradients (a reentrant checkpoint, a custom function)
    is seen too.
    """
    recorder = _Recorder(model, sample)
    with traceable(model), in_mode(model, training), recorder:
        outputs = model(recorder.sample)
    recorder.trace.outputs = frozenset().union(*(recorder.fed(t) for t in tensors_in(outputs)))
    return recorder.trace


class _Recorder(TorchDispatchMode):
    """Inside, every operator notes whose units it reads and where they lie in its outputs."""

    def __init__(self, model: nn.Module, sample: Tensor):
        super().__init__()  # type: ignore[no-untyped-call]
        self.trace = Trace()
        self.origins = Origins(model)
        self.sample = writable(sample)
        self._joined = Joined(self.origins)
        self._fed = {storage(self.sample): frozenset([INPUT])}
        self._tracks: dict[Any, Track] = {}
        # Alive, or their storages would be given to others.
        self._alive: list[Any] = []

    def fed(self, tensor: Tensor) -> frozenset[str]:
        """The layers, or the input, that reach it without another layer between."""
        return self._fed.get(storage(tensor), EMPTY)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        inputs = list(call.tensors())
        # Before the call: some operators give their input another shape in place.
        read = [(t, self._tracks.get(place(t)), self.fed(t)) for t in inputs if self.fed(t)]
        outs = func(*args, **(kwargs or {}))
        found = list(tensors_in(outs))
        self._alive += [t.untyped_storage() for t in found if t.layout == torch.strided]
        if read:
            known = [t for t in inputs if not self.fed(t) and self.origins.of(t)]
            fed = frozenset().union(*(feeders for _, _, feeders in read))
            # The input has no units: what is added to it stays in its place.
            units = [(tensor, track) for tensor, track, feeders in read if feeders != {INPUT}]
            self._note(call, known, units, fed, found)
        else:
            self.origins.note(call, found)
        return outs

    def _note(
        self,
        call: Call,
        known: list[Tensor],
        read: list[tuple[Tensor, Track | None]],
        fed: frozenset[str],
        outs: list[Tensor],
    ) -> None:
        name, func, args = call.name, call.func, call.args
        if not outs or name.endswith("_like") or name.startswith("new_"):
            return
        matrices = [tensor for tensor in known if self._is_matrix(tensor)]
        lookup, other = name.startswith("embedding"), call.pointwise or _passes(name)
        if lookup or (matrices and call.pointwise):
            self.trace.elsewhere |= self._names(matrices)
        if matrices and not lookup and not other:
            return self._use(name, args, matrices, known, fed, outs)
        lost = lookup or not read or func._opname in ("t_", "transpose_")
        tracks = [None if lost else moved(name, func, args, read, out) for out in outs]
        units = [tensor for tensor, _ in read]
        free = [tensor for tensor in tensors_in(args) if not self.fed(tensor)]
        # One entry for each unit is like a bias, and joins nothing.
        constants = [t for t in free if not self.origins.of(t) and per_unit(t, outs[0], tracks[0])]
        rest = [t for t in free if name not in SHIFTING or all(t is not c for c in constants)]
        joined = self._joined.after(name, args, units, rest, known, tracks)
        if read and ((known and (call.pointwise or "norm" in name)) or _centres(name, args)):
            self._affine(call, read, known, fed, tracks[0], outs[0], joined)
        if read and constants and call.pointwise and sends(call, units):
            shape = tuple(outs[0].shape)
            self.trace.affine.append(
                Affine((), fed, tracks[0], len(shape) - 1, shape, True, joined)
            )
        self._put(outs, fed, tracks)
        self._joined.put(outs, joined)

    def _is_matrix(self, tensor: Tensor) -> bool:
        return any(self.origins.dims[name] > 1 for name in self.origins.of(tensor))

    def _names(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        return frozenset().union(*(self.origins.of(tensor) for tensor in tensors))

    def _note_computed(self, known: list[Tensor]) -> None:
        for tensor in known:
            self.trace.computed |= self.origins.alive(tensor)

    def _use(
        self,
        name: str,
        args: Sequence[Any],
        matrices: list[Tensor],
        known: list[Tensor],
        fed: frozenset[str],
        outs: list[Tensor],
    ) -> None:
        self._note_computed(known)
        weights = sorted(name for name in self._names(matrices) if self.origins.dims[name] > 1)
        track = self.origins.track(matrices[0]) if len(weights) == 1 else None
        made = product(name, args, matrices[0], track, outs[0]) if track else None
        along = tuple(sorted(self._names(known) - set(weights)))
        self.trace.uses += [Use(weight, fed, made is not None, along) for weight in weights]
        self._put(outs, frozenset(weights), [made] + [None] * (len(outs) - 1))

    def _affine(
        self,
        call: Call,
        read: list[tuple[Tensor, Track | None]],
        known: list[Tensor],
        fed: frozenset[str],
        track: Track | None,
        out: Tensor,
        joined: bool,
    ) -> None:
        names = tuple(dict.fromkeys(n for tensor in known for n in sorted(self.origins.of(tensor))))
        name = call.name
        if "norm" in name:
            first, track = read[0]
            shape, dim = tuple(first.shape), 1
            shifts = "rms_norm" not in name
            if "layer_norm" in name or "rms_norm" in name:
                dim = len(shape) - 1
        else:
            self._note_computed(known)
            shape, dim = tuple(out.shape), counted(known, out)
            # Not a table of positions, which is a source of its own.
            flat = all(len(wide(tensor)) < 2 for tensor in known)
            shifts = flat and sends(call, [tensor for tensor, _ in read], known)
        self.trace.affine.append(Affine(names, fed, track, dim, shape, shifts, joined))

    def _put(self, outs: list[Tensor], fed: frozenset[str], tracks: Sequence[Any]) -> None:
        for out, track in zip(outs, tracks, strict=True):
            if out.layout != torch.strided:
                continue
            # What was written into a part of a tensor is in it beside what was there.
            old = self.fed(out)
            self._fed[storage(out)] = old | fed
            self._tracks.pop(place(out), None)
            if track is not None:
                self._tracks[place(out)] = track


def _passes(name: str) -> bool:
    """Operators through which layers are seen, although a parameter may enter beside them."""
    return name in MOVES or "norm" in name or "attention" in name


def _centres(name: str, args: Sequence[Any]) -> bool:
    """Whether it is a norm by a mean of other channels or of earlier batches.

    The mean of a channel that is 0 is 0, where the batch's own is taken.
    """
    kinds = ("batch_norm", "layer_norm", "group_norm")
    return any(kind in name for kind in kinds) and not any(each is True for each in args)
