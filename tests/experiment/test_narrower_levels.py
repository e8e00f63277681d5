"""With compact=levels the network has narrower layers of the same names after a level."""

from collections.abc import Iterator

import pytest
import torch
from command import only_run, records_of, run_main
from cutting import Cut, cut
from forked_ranks import harness_on_ranks
from hydra.errors import InstantiationException
from whole_runs import SMALL, Whole, whole_run

from harness import load
from harness.run_folder.outcome import COMPACT
from harness.run_folder.overview import scan
from harness.training.loop import Loop

RUN = (
    "model.hidden=[6,5]", "structure=neuron", "allocation=uniform", "schedule=geometric",
    "schedule.levels=2", "schedule.final=0.4", "retraining.epochs=2",
)  # fmt: skip
AT_END = ("compact=end", "allocation.min_units=1")
CUT = ("compact=levels", "allocation.min_units=1")
# 8-6-5-4, of which 4 and 3, then 2 and 2 neurons are left.
LEFT = {1: (4, 3), 2: (2, 2)}


@pytest.fixture(scope="module", name="narrow")
def fixture_narrow(tmp_path_factory) -> Iterator[Whole]:
    yield whole_run(tmp_path_factory.mktemp("narrow"), *RUN, *CUT)


@pytest.fixture(scope="module", name="masked")
def fixture_masked(tmp_path_factory) -> Iterator[Whole]:
    yield whole_run(tmp_path_factory.mktemp("masked"), *RUN, *AT_END)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("stage", ["pruned", "finetuned"])
def test_layers_are_narrower_under_the_same_names(narrow, level, stage) -> None:
    network, (first, second) = narrow.networks[level, stage], LEFT[level]
    assert {name: tuple(value.shape) for name, value in network.items()} == {
        "fc1.weight": (first, 8), "fc1.bias": (first,),
        "fc2.weight": (second, first), "fc2.bias": (second,),
        "fc3.weight": (4, second), "fc3.bias": (4,),
    }  # fmt: skip
    assert narrow.networks[0, "dense"]["fc1.weight"].shape == (6, 8)


def test_the_narrow_network_trains_and_its_optimizer_knows_it(narrow) -> None:
    for level in LEFT:
        steps = narrow.of(level)
        assert len(steps) == 2 * 3
        assert steps[0].new and not steps[-1].new
        assert steps[0].gradients["fc2.weight"].shape == LEFT[level][::-1]
        before, after = (step.weights["fc1.weight"] for step in (steps[0], steps[-1]))
        assert not before.equal(after)


def test_records_count_in_names_and_shapes_of_the_dense_network(narrow, masked) -> None:
    assert narrow.record(0, "dense") == masked.record(0, "dense")
    for level, (first, second) in LEFT.items():
        record = narrow.record(level, "pruned")
        parameters = 9 * first + (first + 1) * second + (second + 1) * 4
        macs = 8 * first + first * second + second * 4
        assert (record.parameters, record.macs) == (parameters, macs)
        assert record.compression == (54 + 35 + 24) / parameters
        assert record.speedup == (48 + 30 + 20) / macs
        # By rows and their biases, as the schedule counts them: 9 of fc1, 7 of fc2.
        assert record.density == (9 * first + 7 * second) / (54 + 35)
        assert record.layers["fc1.weight"] == first / 6
        assert record.layers["fc2.weight"] == first * second / 30
    one, other = narrow.record(1, "pruned"), masked.record(1, "pruned")
    assert (one.masks, one.density) == (other.masks, other.density)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


def test_training_costs_what_the_narrow_network_multiplies(narrow) -> None:
    record, (first, second) = narrow.record(1, "finetuned"), LEFT[1]
    macs = 8 * first + first * second + second * 4
    assert record.training_flops == 2 * 40 * 3 * 2 * macs  # epochs, samples, passes, 2 per mac


def test_rewound_weights_are_those_of_what_is_left(tmp_path) -> None:
    whole = whole_run(tmp_path, *RUN, *CUT, "finetune=weight_rewind", "finetune.epoch=1")
    _, start = whole.starts[1]
    dense = whole.networks[0, "dense"]
    assert start["fc1.weight"].shape == (4, 8) and not start["fc1.weight"].equal(
        dense["fc1.weight"][:4]
    )
    assert whole.record(2, "finetuned").parameters == 2 * 9 + 3 * 2 + 3 * 4


@pytest.mark.parametrize("step", [8, 13, 17])
def test_a_narrow_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path, step) -> None:
    # 3 steps an epoch: 6 dense, 6 of level 1, 6 of level 2.
    run = (*SMALL, *RUN, *CUT, "checkpoint.every_steps=1")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run, f"output_dir={tmp_path / 'whole'}") == 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch, Loop, "_update", step, after=True)
        with pytest.raises(Cut):
            run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run, f"output_dir={tmp_path / 'cut'}") == 0
    one, other = only_run(tmp_path / "whole"), only_run(tmp_path / "cut")
    for file in ("records.jsonl", "masks.safetensors", "model.safetensors"):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_what_is_delivered_computes_as_the_narrow_network_did(tmp_path, capsys) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *SMALL, *RUN, *CUT, f"output_dir={tmp_path}") == 0
    assert "no checkpoint holds it" not in capsys.readouterr().err
    network, _ = load(only_run(tmp_path))
    assert int(network.get_parameter("fc1.weight").count_nonzero()) == 2 * 8
    assert int(network.get_parameter("fc3.weight").count_nonzero()) == 2 * 4
    assert records_of(only_run(tmp_path))[-1].parameters == 2 * 9 + 3 * 2 + 3 * 4
    assert network(torch.zeros(1, 8)).shape == (1, 4)


def test_a_smaller_network_is_written_beside_the_masked_one(tmp_path) -> None:
    for name, when in (("levels", CUT), ("end", AT_END)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            folder = f"output_dir={tmp_path / name}"
            assert run_main(monkeypatch, *SMALL, *RUN, *when, folder) == 0
        small, masks = load(only_run(tmp_path / name))
        masked, dense_masks = load(only_run(tmp_path / name), dense=True)
        assert small.get_parameter("fc2.weight").shape == masks["fc2.weight"].shape == (2, 2)
        assert masks["fc2.weight"].all() and dense_masks["fc2.weight"].shape == (5, 6)
        inputs = torch.randn(5, 8)
        assert torch.allclose(small(inputs), masked(inputs), atol=1e-6)


@pytest.mark.parametrize(("change", "name"), list(zip(["one bit", "gone"], COMPACT, strict=True)))
def test_a_smaller_network_that_is_damaged_is_refused_and_made_again(
    tmp_path, capsys, change, name
) -> None:
    run = (*SMALL, *RUN, *AT_END, f"output_dir={tmp_path}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run) == 0
        file = only_run(tmp_path) / name
        before = file.read_bytes()
        if change == "gone":
            file.unlink()
            assert [each.state for each in scan(tmp_path).runs] == ["missing"]
        else:
            file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))  # the last entry's sign bit
        with pytest.raises(ValueError, match=f"{name} is (missing|damaged).*; repeat the run's"):
            load(only_run(tmp_path))
        assert run_main(monkeypatch, *run) == 0
    assert f"warning: {file} is " in capsys.readouterr().err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "recipe",
    [
        ("training=sgd", "training.optimizer.momentum=0.9", "training.optimizer.weight_decay=0.1"),
        ("training=adamw", "training.clip_norm=0.1"),
    ],
    ids=["sgd", "adamw"],
)
def test_smaller_and_masked_networks_train_to_the_same_masks(tmp_path, recipe) -> None:
    first, *keys = recipe
    recipes = (first, first.replace("training", "training@retraining"), *keys)
    recipes += tuple(key.replace("training", "retraining", 1) for key in keys)
    runs = []
    for name, when in (("levels", CUT), ("end", AT_END)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            folder = f"output_dir={tmp_path / name}"
            more = ("dtype=float64", "model.batch_norm=true", *recipes, folder)
            assert run_main(monkeypatch, *SMALL, *RUN, *when, *more) == 0
        runs.append(records_of(only_run(tmp_path / name)))
    for one, other in zip(*runs, strict=True):
        assert one.masks == other.masks
        assert one.loss == pytest.approx(other.loss, rel=1e-9)


def test_two_ranks_cut_what_one_cuts(tmp_path) -> None:
    for ranks in (1, 2):
        done = harness_on_ranks(ranks, *SMALL, *RUN, *CUT, f"output_dir={tmp_path}/{ranks}")
        assert done.returncode == 0, done.stderr
    one, two = (records_of(only_run(tmp_path / f"{ranks}"))[-1] for ranks in (1, 2))
    assert (one.masks, one.parameters) == (two.masks, two.parameters)
    assert two.loss == pytest.approx(one.loss, rel=1e-4)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mask_updates=soft", "compact=levels removes pruned units after"),
        ("penalty=growing_l2", "compact=levels removes pruned units after"),
        ("prune_at=during_training", "compact=levels removes pruned units after"),
        ("structure=element", "compact=levels removes whole units, but structure=element"),
        (
            "structure=kernel",
            "masks entries inside weights. Use structure=attention_head, ffn, fil",
        ),
        ("allocation.min_units=0", "compact=levels keeps a unit in each group"),
    ],
    ids=lambda o: o,
)
def test_what_cannot_be_compacted_is_refused_before_training(tmp_path, override, message) -> None:
    with pytest.raises((ValueError, InstantiationException), match=message):
        whole_run(tmp_path, *RUN, *CUT, "retraining.epochs=20", override)
    assert not list(tmp_path.iterdir())
