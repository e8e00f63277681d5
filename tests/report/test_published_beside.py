import math

import pandas as pd
import pytest
import torch
import torchvision
from conftest import cases, component
from published_figures import SAME, mine
from report_page import Page
from survey_records import make, write_run
from torch import nn

from harness.data.cifar10 import Cifar10
from harness.data.digits import Digits
from harness.data.mnist5k import Mnist5k
from harness.metrics.macs import macs
from harness.models.lenet_5 import LeNet5
from harness.models.lenet_300_100 import LeNet300100
from harness.report import report
from harness.report.published import LiteratureNames, match_figures
from harness.report.published.convert import compression, dense_sizes, speedup

CIFAR_MODELS = "resnet_18", "resnet_20", "resnet_56", "vgg_11_bn", "vgg_16_bn", "vgg_19_bn"
ONE = "method,size,accuracy,std,n\nA,0.1,98,0.2,3\n"


def counts(model: str, data: str) -> list[int]:
    sizes = dense_sizes().set_index(["model", "data"])
    return [int(count) for count in sizes.loc[(model, data)]]


def counted(network: nn.Module, shape: tuple[int, ...]) -> list[int]:
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return [weights, parameters, macs(network, shape, whole=True)]


@cases(
    "model, data, shape",
    *((model, "mnist", (1, 28, 28)) for model in ("lenet_300_100", "lenet_5")),
    *((model, "cifar10", (3, 32, 32)) for model in CIFAR_MODELS),
)
def test_sizes_are_those_of_our_own_models(model, data, shape) -> None:
    part = component("model", model)
    assert part.published_as == model
    with torch.device("meta"):
        assert counts(model, data) == counted(part.build(shape, 10), shape)


def test_sizes_on_imagenet_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        for name, other in (("resnet_18", "resnet18"), ("resnet_50", "resnet50")):
            network = getattr(torchvision.models, other)(weights=None)
            assert counts(name, "imagenet") == counted(network, (3, 224, 224))


@cases("layers", 20, 32, 56, 110)
def test_sizes_of_cifar_resnets_follow_from_their_layers(layers) -> None:
    convolutions = (layers - 2) // 3  # of each width
    weights, multiplied, channels = 3 * 16 * 9, 3 * 16 * 9 * 32**2, 16
    inputs = 16
    for width, side in ((16, 32), (32, 16), (64, 8)):
        own = 9 * width * (inputs + (convolutions - 1) * width)
        weights, multiplied = weights + own, multiplied + own * side**2
        channels += convolutions * width
        inputs = width
    weights, multiplied = weights + 640, multiplied + 640
    assert counts(f"resnet_{layers}", "cifar10") == [
        weights,
        weights + 2 * channels + 10,
        multiplied,
    ]


def test_a_density_of_weights_becomes_a_compression_of_all_parameters(tmp_path) -> None:
    (row,) = match_figures("lenet_300_100", "mnist", mine(tmp_path, ONE))[0].to_dict("records")
    # A tenth of 266,200 weights and all 410 biases are left.
    assert row["compression_ratio"] == pytest.approx(266_610 / (26_620 + 410))
    assert math.isnan(row["speedup_ratio"])
    assert row["converted"].startswith(
        "compression from density of prunable weights: 266,200 of 266,610 parameters; no MACs"
    )
    assert (row["top1_fraction_mean"], row["top1_fraction_std"], row["n"]) == (0.98, 0.002, 3)
    assert row["citation"] == "Me, You 2026, Ours, of last year (unpublished)"
    assert row["definition"] == "0.1 density of prunable weights"


@cases(
    "definition, value, ratio",
    ("sparsity_prunable", 0.9, 266_610 / 27_030),
    ("compression_prunable", 10.0, 266_610 / 27_030),
    ("parameters_left", 0.1, 10),
    ("sparsity_all", 0.9, 10),
    ("compression_all", 12.0, 12),
)
def test_each_size_is_converted(definition, value, ratio) -> None:
    row = {"model": "lenet_300_100", "data": "mnist", "size": value, "size_definition": definition}
    assert compression(row)[0] == pytest.approx(ratio)


@cases("counting", "weights", "channels")
@cases("definition, value", ("speedup", 4.0), ("macs_left", 0.25), ("macs_cut", 0.75))
def test_each_speed_is_converted(definition, value, counting) -> None:
    assert speedup({"speed": value, "speed_definition": f"{definition}_{counting}"})[0] == 4


def test_a_density_of_an_unknown_network_is_left_out_and_counted(tmp_path) -> None:
    figures = mine(tmp_path, ONE, SAME.replace("lenet_300_100", "my_net"))
    rows, notes = match_figures("my_net", "mnist", figures)
    assert rows.empty
    assert notes == [
        "1 of 1 published figures of my_net on mnist are left out against compression: 1 x "
        "density of prunable weights: parameters of the model not known",
        "1 of 1 published figures of my_net on mnist are left out against theoretical speed-up: "
        "1 x no MACs published, and a density of weights does not determine them",
    ]


def test_another_data_set_gets_no_figures_unless_asked_for(tmp_path) -> None:
    figures = mine(tmp_path, ONE)
    rows, notes = match_figures("lenet_300_100", "mnist5k", figures)
    assert rows.empty
    assert len(notes) == 1 and "is another data set" in notes[0] and "mnist5k=mnist" in notes[0]

    rows, notes = match_figures(
        "lenet_300_100", "mnist5k", figures, published_for={"mnist5k": "mnist"}
    )
    assert rows["label"].tolist() == ["A (Me 2026) on mnist"]
    assert "as requested" in notes[0]
    rows, notes = match_figures(
        "lenet_300_100", "mnist5k", figures, published_for={"mnist5k": "minst"}
    )
    assert rows.empty and notes == ["there are no published figures of lenet_300_100 on minst"]

    none = ["there are no published figures of mlp on blobs"]
    assert match_figures("mlp", "blobs", figures)[1] == none


def test_another_model_on_the_same_data_gets_no_figures(tmp_path) -> None:
    rows, notes = match_figures("lenet_5", "mnist", mine(tmp_path, ONE))
    assert rows.empty and notes == ["there are no published figures of lenet_5 on mnist"]


def test_a_config_of_the_same_name_gets_no_figures(tmp_path) -> None:
    figures, place = mine(tmp_path, ONE), ("lenet_300_100", "mnist")
    for known, missing in (
        (LiteratureNames("lenet_300_100", None), "data=mnist declares no published_as"),
        (LiteratureNames(None, "mnist"), "model=lenet_300_100 declares no published_as"),
        (LiteratureNames(None, None), "model=lenet_300_100 and data=mnist declare no published_as"),
    ):
        rows, (note,) = match_figures(*place, figures, known=known)
        assert rows.empty and missing in note


def test_a_config_of_another_name_gets_the_figures_of_what_it_declares(tmp_path) -> None:
    known = LiteratureNames("LeNet-300-100", "MNIST")
    rows, _ = match_figures("my_net", "digits_of_mine", mine(tmp_path, ONE), known=known)
    assert rows["label"].tolist() == ["A (Me 2026)"]
    # Asked for by the name of the config, whatever it declares.
    published_for, none = {"digits_of_mine": "mnist"}, LiteratureNames("lenet_300_100", None)
    rows, _ = match_figures("my_net", "digits_of_mine", mine(tmp_path, ONE), published_for, none)
    assert rows["label"].tolist() == ["A (Me 2026) on mnist"]


def test_components_declare_the_name_that_they_have_in_the_literature() -> None:
    parts = (LeNet300100(), LeNet5(), LeNet5(batch_norm=True), Mnist5k(), Cifar10())
    names = ["lenet_300_100", "lenet_5", None, "mnist5k", "cifar10"]
    assert [part.published_as for part in parts] == names
    assert Cifar10(verify=False).published_as is None  # any files of its layout
    assert not hasattr(Digits(), "published_as")


def test_removed_channels_are_said_to_be_counted_otherwise() -> None:
    rows, notes = match_figures("resnet_56", "cifar10")
    filters = (rows["structure"] == "filters").sum()
    assert 0 < filters < len(rows)
    assert notes[-1].startswith(f"{filters} published figures of resnet_56 on cifar10 are of")


def test_li_2017_has_both_ratios_by_hand() -> None:
    rows, _ = match_figures("resnet_56", "cifar10")
    row = rows[rows["label"] == "L1 filters B (Li 2017)"].iloc[0]
    assert row["compression_ratio"] == pytest.approx(0.85 / 0.73, rel=1e-5)
    assert row["speedup_ratio"] == pytest.approx(0.125 / 0.091, rel=1e-5)
    assert row["top1_fraction_mean"] == pytest.approx(0.9306)


def test_figures_beside_are_a_table_for_every_shipped_section() -> None:
    sizes = dense_sizes()
    for model, data in zip(sizes["model"], sizes["data"], strict=True):
        rows, _ = match_figures(model, data)
        assert isinstance(rows, pd.DataFrame)
        assert rows["compression_ratio"].dropna().ge(1).all()


def test_axes_reach_to_published_figures_beyond_ones_own(tmp_path) -> None:
    own = {"model": "resnet_20", "data": "cifar10"}
    own |= {f"{key}_published_as": name for key, name in own.items()}
    write_run(tmp_path / "0", make(**own, requested_compression=2.0, compression=2.0))
    report(tmp_path)
    section = Page(tmp_path / "report" / "report.html").data["sections"]["section-0"]
    ends = section["charts"]["compression"]["layer"][-1]["encoding"]["x"]["scale"]["domain"]
    ratios = [row["compression"] for row in section["rows"]["published"] if row["compression"]]
    # Of Renda et al. 2020 it goes on to densities below 1 %.
    assert max(ratios) > 50
    assert ends[0] < min(ratios) and max(ratios) < ends[1]
