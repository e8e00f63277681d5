"""A record of a structured run states the sizes of the network that is left."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import only_run, records_of, run_main
from safetensors.torch import load_file
from torch import Tensor

# LeNet-5 for 28 x 28: convolutions of 20 and 50 filters of 5 x 5 at 24 x 24 and 8 x 8 positions,
# of which pooling leaves 4 x 4 for the 500 neurons of fc1.
DENSE = (20, 50)


def macs(first: int, second: int) -> int:
    return first * 25 * 24 * 24 + second * first * 25 * 8 * 8 + second * 16 * 500 + 500 * 10


def parameters(first: int, second: int) -> int:
    conv = first * 26 + second * (first * 25 + 1)
    return conv + 500 * (second * 16 + 1) + 10 * 501


@pytest.fixture(scope="module", name="folder")
def fixture_folder(tmp_path_factory) -> Iterator[Path]:
    """Yields the folder of a run that asks for a speed-up of 4 by filters, without training."""
    runs = tmp_path_factory.mktemp("filters")
    run = (
        "method=l1_filters", "model=lenet_5", "data=mnist5k", "data.train=64", "data.test=32",
        "data.validation=32", "calibration.samples=16", "training.epochs=0", "retraining.epochs=0",
        "finetune=none", "schedule=one_shot", "schedule.unit=speedup", "schedule.final=4",
        "tracking=none", f"output_dir={runs}",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert run_main(monkeypatch, *run) == 0
    yield only_run(runs)


def filters(weight: Tensor) -> int:
    return int(weight.flatten(1).any(1).sum())


def test_the_network_cut_to_its_filters_has_the_recorded_sizes(folder) -> None:
    weights = load_file(folder / "model.safetensors")
    left = filters(weights["conv1.weight"]), filters(weights["conv2.weight"])
    record = records_of(folder)[-1]
    assert 0 < left[0] < DENSE[0] and 0 < left[1] < DENSE[1]
    assert (record.macs, record.parameters) == (macs(*left), parameters(*left))
    assert record.speedup == pytest.approx(macs(*DENSE) / macs(*left))
    assert record.compression == pytest.approx(parameters(*DENSE) / parameters(*left))


def test_the_network_that_is_left_meets_the_asked_speedup(folder) -> None:
    assert records_of(folder)[-1].speedup == pytest.approx(4, rel=0.05)


def test_a_record_says_what_was_asked_in_densities_and_compressions_of_macs(folder) -> None:
    record = records_of(folder)[-1]
    assert record.requested_counts == "macs"
    # By rows, with which columns go: a network of a quarter has much more than a quarter of them.
    assert record.requested_compression == pytest.approx(4, rel=1e-9)
    assert record.requested_density == pytest.approx(record.density, abs=0.03)
