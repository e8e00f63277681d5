"""The rehearsal of a run changes nothing, and is the same on all ranks."""

import random
from dataclasses import dataclass, replace
from typing import Any

import numpy
import pytest
import torch
from command import TINY, only_run, records_of, run_main
from rehearsing import TRAINED, Building, Net, fails, plain, prepared
from torch import Tensor, nn

from harness.distributed import Ranks
from harness.distributed.batch_norm import SyncedBatchNorm1d
from harness.experiment.rehearsals import rehearsal
from harness.metrics.latency import Latency
from harness.run_folder.identity import rehearsal_hash
from harness.saliency.base import CalibrationData
from harness.saliency.magnitude import Magnitude
from harness.task.classification import Classification
from harness.vocabulary.tensors import Tensors, all_tensors, clone_tensors


class Counting(Classification):
    """Keeps what it has seen, as an own part may."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        self.seen.append(len(labels))  # type: ignore[attr-defined]
        return super().loss(outputs, labels)


def streams() -> list[Any]:
    return [torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist()]


def test_model_parts_data_and_random_streams_stay_as_they_were() -> None:
    def draws(net: Net, x: Tensor) -> Tensor:
        random.random(), numpy.random.rand()
        return plain(net, nn.functional.dropout(x, 0.5, net.training))

    task = Counting()
    ready = prepared(*TRAINED, model=Building(draws), task=task)
    model, splits = ready.state.model, ready.context.workload.splits
    before, seen, at = clone_tensors(all_tensors(model)), list(task.seen), streams()
    inputs = splits.train.inputs.clone()

    rehearsal.rehearse(ready.context, model, Latency(batch_sizes=(3,)))

    assert all(torch.equal(value, before[name]) for name, value in all_tensors(model).items())
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())
    assert task.seen == seen and streams() == at and torch.equal(inputs, splits.train.inputs)
    assert ready.state.masks.masks.keys() and all(
        mask.all() for mask in ready.state.masks.masks.values()
    )


def test_norms_that_are_synced_between_ranks_wait_for_none(monkeypatch) -> None:
    ready = prepared(*TRAINED, "model.batch_norm=true", "sync_batch_norm=true")
    model = ready.state.model
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:  # as on several ranks
        norm.__class__ = SyncedBatchNorm1d

    def waits(*_: Any) -> None:
        raise AssertionError("a collective")

    monkeypatch.setattr(SyncedBatchNorm1d, "forward", waits)
    rehearsal.rehearse(ready.context, model, None)
    assert norms and all(type(norm) is SyncedBatchNorm1d for norm in norms)


@pytest.mark.parametrize("place", ["_begin", "trials"])
def test_no_error_of_one_rank_keeps_it_from_the_others(monkeypatch, place) -> None:
    ready = prepared(*TRAINED)
    gathered = []
    ranks = Others("")
    monkeypatch.setattr(
        Others, "all_gather_object", lambda _, value: gathered.append(value) or [value]
    )
    context = replace(ready.context, workload=replace(ready.context.workload, ranks=ranks))
    monkeypatch.setattr(rehearsal, place, fails(KeyError("own")))
    with pytest.raises(ValueError, match="fails on two samples, before any training: KeyError"):
        rehearsal.rehearse(context, ready.state.model, None)
    assert len(gathered) == 1


@dataclass(frozen=True)
class Batched(Magnitude):
    """Computes what needs more samples than a rehearsal has."""

    def statistics(self, data: CalibrationData) -> Tensors:
        if sum(len(labels) for _, labels in data.batches) < 3:
            raise RuntimeError("no variance of two samples")
        return {}


def test_a_run_that_two_samples_refuse_falsely_runs_with_rehearse_false(
    tmp_path, monkeypatch, capfd
) -> None:
    own = "saliency._target_=test_rehearsal_effects.Batched"
    arguments = (*TINY, own, "prune_at=init", "retraining.epochs=1", f"output_dir={tmp_path}/runs")
    assert run_main(monkeypatch, *arguments) == 2
    (line,) = [text for text in capfd.readouterr().err.splitlines() if text.startswith("harness")]
    assert line.endswith("two samples; rehearse=false starts the run nonetheless")
    assert not list(tmp_path.iterdir())

    assert run_main(monkeypatch, *arguments, "rehearse=false") == 0
    assert records_of(only_run(tmp_path / "runs"))


def test_no_way_out_is_named_where_the_run_itself_would_fail_or_be_wrong() -> None:
    class Writing(Magnitude):
        def statistics(self, data: CalibrationData) -> Tensors:
            next(data.module.parameters()).data.add_(1)
            return {}

    ready = prepared(saliency=Writing())
    with pytest.raises(ValueError, match="changed the model") as caught:
        rehearsal.rehearse(ready.context, ready.state.model, None)
    assert "rehearse=false" not in str(caught.value)


class Others(Ranks):
    """Stands for a rank whose peer has found `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        object.__setattr__(self, "reason", reason)

    def all_gather_object(self, value: Any) -> list[Any]:
        return [value, self.reason]  # type: ignore[attr-defined]


def test_what_one_rank_finds_all_raise() -> None:
    ready = prepared()
    for reason in ("", "task=x: no"):
        workload = replace(ready.context.workload, ranks=Others(reason))
        context = replace(ready.context, workload=workload)
        if reason:
            with pytest.raises(ValueError, match="task=x: no"):
                rehearsal.rehearse(context, ready.state.model, None)
        else:
            rehearsal.rehearse(context, ready.state.model, None)


def gradual(start_from: str = "init", **steps: int) -> dict[str, Any]:
    return {"first_step": 0, "last_step": 9, "interval": 1, "start_from": start_from} | steps


def test_seeds_and_lengths_make_no_other_rehearsal_and_all_else_does() -> None:
    def name(
        code: str = "",
        latency: tuple[int, ...] = (),
        export: tuple[str, ...] = (),
        lr: float = 0.1,
        **changes: Any,
    ) -> str:
        recipe = {"epochs": 3, "optimizer": {"lr": lr}}
        config = {"seed": 0, "training": recipe, "retraining": recipe, "data_sha256": "0"}
        config |= {"gradual": gradual(), "dense_checkpoints": []}
        config |= {"schedule": {"_target_": "one", "final": 0.5}} | changes
        values = {"latency": {"batch_sizes": latency}, "export": export}
        return rehearsal_hash(config, values, code, {})

    longer = {"epochs": 9, "optimizer": {"lr": 0.1}}
    schedule = {"_target_": "one", "final": 0.1}
    drawn = [name(saliency={"_target_": "random", "seed": seed}) for seed in (0, 1)]
    assert len({name(), name(seed=1), name(retraining=longer), name(schedule=schedule)}) == 1
    steps = [gradual(**{key: 5}) for key in ("first_step", "last_step", "interval")]
    assert {name(gradual=each) for each in steps} == {name(), name(dense_checkpoints=[3])}
    assert name(gradual=gradual("trained")) != name()  # there is a dense training to rehearse
    assert len({*drawn, name()}) == 2
    others = [
        name("other"),
        name(latency=(1,)),
        name(lr=0.2),
        name(data_sha256="1"),
        name(task="x"),
    ]
    others.append(name(export=("onnx",)))
    none = {"epochs": 0, "optimizer": {"lr": 0.1}}
    assert len({name(), *others, name(schedule={"_target_": "two"}), name(training=none)}) == 9
