"""Scores and prunes any module, and loads the pruned model of a run."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from harness.allocation.base import Allocation
from harness.api.request import FixedCounts, Request
from harness.api.requested import requested_size, whole_counts, whole_seed
from harness.delivery.compact_folder import fill, read_compact
from harness.launch.components import build_components
from harness.launch.trust.stored_model import build_stored_model
from harness.model_state.usable import check_usable
from harness.pruning.budget import round_sizes
from harness.pruning.masks import MaskStore
from harness.pruning.prunable import copy_into, first_names, make_mask_store
from harness.pruning.pruner import Pruner
from harness.pruning.pruning_order import PruningProgress
from harness.pruning.removal.living import follow_masks, norms_restored_after_errors
from harness.pruning.rounds import Rounds
from harness.run_folder.export import check_pruned, has_compact, load_exported, read_exported
from harness.run_folder.followers import no_weight_left
from harness.run_folder.outcome import COMPACT, CONFIG
from harness.saliency.base import Saliency
from harness.saliency.shared.gradient_statistics import in_float32
from harness.schedule.base import check_rounds
from harness.structure.base import Structure
from harness.vocabulary.given.batches import check_batches
from harness.vocabulary.given.inputs import Inputs
from harness.vocabulary.given.masks import as_bool
from harness.vocabulary.given.numbers import plain_number
from harness.vocabulary.tensors import Batch, Loss, Mean, Tensors, clone_tensors, local_mean


def load(
    run: str | Path, trust: str | Sequence[str] = (), dense: bool = False
) -> tuple[nn.Module, Tensors]:
    """Returns (model, masks) of a finished run; pruned weights are 0, masks are True where kept.

    The model is on the CPU, in eval mode and in the run's dtype. It is built by the config in the
    run's folder. The module of an own model must be importable. Of a run with compact=end or
    compact=levels it is the model without its pruned units; it and the masks have the original
    names, and the smaller shapes.

    Args:
        run: the run's folder, which the command line prints
        trust: own modules from which the model may be built, beside the harness's models; their
            code is executed
        dense: True gives the masked model in its dense shapes, also of a run that compacted

    Raises:
        ValueError: the folder holds no exported model, the model is of another module or cannot
            be built, or the files are of different models.
    """
    folder = Path(run)
    exported = read_exported(folder)
    model = build_stored_model(folder / CONFIG, exported.shape, exported.classes, trust)
    if not dense and has_compact(folder):
        compact = read_compact((folder / COMPACT[0]).parent)
        model, masks = fill(model, compact), compact.cut.slice(exported.masks)
        check_pruned(model, masks)
        return model.eval(), masks
    load_exported(model, exported)
    return model.eval(), exported.masks


@torch.inference_mode(False)  # whose tensors have no gradients
def score(
    model: nn.Module,
    saliency: str | Saliency = "magnitude",
    *,
    batches: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    mean: Mean = local_mean,
    structure: str | Structure = "element",
    example_input: Inputs | None = None,
    exclude: str | Sequence[str] = (),
    seed: int = 0,
) -> Tensors:
    """Returns a score for each prunable weight, by parameter name; the model does not change.

    A model in float16 or bfloat16 is scored in float32, on a copy that holds its rounded weights.

    Args:
        saliency: an object, or the name of a file in conf/saliency/
        batches: (inputs, labels) for a saliency that reads data, inputs a tensor or a dictionary of
            keyword arguments; samples whose whole-number labels
            are all -100 are left out, as in a run; a model that flattens its k positions takes k
            consecutive labels per sample
        loss: (outputs, labels) -> loss SUMMED over the samples; None is cross-entropy of
            (samples, classes, ...)
        mean: the mean over processes, if there are several
        structure: for a saliency of whole units ("filter", "neuron", "row"): one score per unit
        example_input: a batch of inputs for such a structure; None takes it from batches
        exclude: layers that are not scored: "first", "last", or names
        seed: seed of random draws

    >>> import harness, torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, -3.0)
    >>> harness.score(model)["weight"].tolist()
    [[3.0, 3.0]]
    >>> data = [(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))]
    >>> total = lambda outputs, labels: outputs.sum()
    >>> harness.score(model, "gradient", batches=data, loss=total)["weight"].tolist()
    [[1.0, 2.0]]

    Raises:
        ValueError: there is no such saliency, it needs data and gets none, the loss is a mean, the
            model has nothing to prune, a score is not finite, or the saliency left the model
            changed.
    """
    check_usable(model)
    parts = build_components(None, saliency, structure, None, whole_seed(seed))
    pruner = Pruner(parts.saliency, parts.structure, parts.allocation)
    given = check_batches("batches", batches)
    request = Request(pruner, given, loss, mean, example_input, exclude)
    wide = in_float32(model)
    with request.explain_errors(model, wide):
        return pruner.scores(wide, request.units(wide), request.data(wide))


@torch.inference_mode(False)
def prune(
    model: nn.Module,
    density: float | None = None,
    *,
    keep: int | Mapping[str, int] | None = None,
    method: str | None = None,
    saliency: str | Saliency | None = None,
    structure: str | Structure | None = None,
    allocation: str | Allocation | None = None,
    batches: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    mean: Mean = local_mean,
    example_input: Inputs | None = None,
    exclude: str | Sequence[str] = (),
    masks: Tensors | None = None,
    rounds: int | None = None,
    seed: int = 0,
) -> Tensors:
    """Prunes the model in place and returns the masks; pruned weights become 0, True is kept.

    Give either density or keep; neither with structure "n_m", which fixes the density. Without a
    method the components are magnitude, element and the saliency's default allocation: uniform if
    scores do not compare between layers or the structure is n_m, else global_ranking. A tensor that
    loses its last weight without being asked to is warned of (UserWarning). After an error the
    model is as before.

    Args:
        density: kept fraction of what the structure may prune after `exclude`, in (0, 1]; of n
            single weights exactly round(density * n) stay, or all live ones if these are fewer; a
            unit counts with its weights, bias and norm
        keep: number of units that stay (single weights with structure "element"): one total, or
            one count per tensor by parameter name; other tensors lose nothing
        method: name of a file in conf/method/, whose components and rounds are taken
        saliency, structure, allocation: objects, or names of files in conf/
        batches, loss, mean, exclude, seed: as in `score`
        example_input: as in `score`; also for budget="macs"
        masks: masks of an earlier call or of another tool, 0 or 1 of any dtype, for any parameters;
            what they prune is zeroed and stays pruned; None forgets earlier calls
        rounds: number of steps, each with new scores; None takes that of the method or of the
            saliency's authors

    >>> import harness, torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> masks = harness.prune(model, 0.5)
    >>> sum(int(mask.sum()) for mask in masks.values()), sorted(masks)
    (9, ['0.weight', '2.weight'])
    >>> masks = harness.prune(model, keep={"0.weight": 2, "2.weight": 1}, masks=masks)
    >>> int(model[0].weight.count_nonzero()), int(model[2].weight.count_nonzero())
    (2, 1)
    >>> masks = harness.prune(model, keep=1, structure="neuron", example_input=torch.zeros(1, 4))
    >>> int(masks["0.bias"].sum())
    1

    Raises:
        ValueError: neither or both of density and keep are given, they cannot be reached, two
            components do not fit, or as in `score`.
    """
    check_usable(model)
    density, rounds = plain_number(density), plain_number(rounds)
    check_rounds(rounds)
    counts = whole_counts(keep) if isinstance(keep, Mapping) else None
    parts = build_components(method, saliency, structure, allocation, whole_seed(seed))
    shared = parts.allocation if counts is None else FixedCounts(counts=counts)
    pruner = Pruner(parts.saliency, parts.structure, shared)
    given = check_batches("batches", batches)
    request = Request(pruner, given, loss, mean, example_input, exclude)
    wide = in_float32(model)
    with request.explain_errors(model, wide):
        units, model_info, data = request.units(wide), request.model_info(wide), request.data(wide)
    earlier = first_names(wide, as_bool({} if masks is None else masks))
    store = make_mask_store(wide, units, also=earlier)
    store.shrink_to(earlier)
    given_size = density, counts or keep
    alive, end, unit = requested_size(pruner, wide, store, units, model_info, *given_size)
    sizes = round_sizes(alive, end, unit, parts.rounds if rounds is None else rounds)
    with request.explain_errors(model, wide), _restored_after_errors(wide, store):
        follow_masks(wide, units, store)
        store.apply_to(wide)
        Rounds(pruner, units, data, model_info).run(wide, store, PruningProgress.of(sizes))
    if wide is not model:
        copy_into(model, {name: wide.get_parameter(name).detach() for name in store.masks})
        follow_masks(model, units, store)
    if end > 0 and not pruner.structure.single_units:
        _warn_of_empty(store.masks, [name for name in units if (counts or {}).get(name) != 0])
    return dict(store.masks)


@contextmanager
def _restored_after_errors(model: nn.Module, store: MaskStore) -> Iterator[None]:
    before = clone_tensors({name: model.get_parameter(name) for name in store.masks})
    try:
        with norms_restored_after_errors(model):
            yield
    except BaseException:
        copy_into(model, before)
        raise


def _warn_of_empty(masks: Tensors, names: Iterable[str]) -> None:
    empty = [name for name in names if not masks[name].any()]
    if empty:
        warnings.warn(no_weight_left(empty), stacklevel=4)  # of who calls prune
