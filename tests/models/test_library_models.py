"""Checks models of torchvision, timm and transformers, and those of a user's own function."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import cases
from torchvision.models import shufflenet_v2_x0_5

from harness.extras import MissingExtra
from harness.launch.digests.code import own_files
from harness.launch.digests.files import files_digest, weights_digest
from harness.launch.instantiate import build_part
from harness.launch.trust.stored_parts import check_parts
from harness.models.base import weights_file
from harness.models.lenet_5 import LeNet5
from harness.models.python import Python
from harness.models.shared.library_model import OutputEntry
from harness.models.timm import Timm
from harness.models.torchvision import Torchvision
from harness.models.transformers import Transformers
from harness.training.pretrained import load_weights

CIFAR = (3, 32, 32)
RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
NETS = """
from torch import nn

def small(classes, width=3):
    return nn.Linear(width, classes)

def by_library(num_classes, in_chans, shape):
    return nn.Linear(in_chans * shape[1], num_classes)

class Two(nn.Module):
    def forward(self, x):
        return {"hidden": x, "logits": 2 * x}

constant = 1
"""


@pytest.fixture
def nets(tmp_path, monkeypatch) -> str:
    """Writes a module of functions that build models, and returns its name."""
    name = f"nets_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_the_network_is_that_of_torchvision_with_another_head() -> None:
    torch.manual_seed(0)
    built = Torchvision("shufflenet_v2_x0_5").build((3, 64, 64), 7)
    torch.manual_seed(0)
    theirs = shufflenet_v2_x0_5(num_classes=7)
    assert type(built) is type(theirs) and built.training
    ours, wanted = built.state_dict(), theirs.state_dict()
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[n], wanted[n]) for n in wanted)


def test_a_constructor_that_takes_the_size_of_an_image_gets_it() -> None:
    torch.manual_seed(0)
    options = {"image_size": 64}
    assert Torchvision("vit_b_32").build((3, 64, 64), 4).image_size == 64
    with pytest.raises(
        ValueError, match=r"does not take samples of shape \(3, 32, 32\) .* such as"
    ):
        Torchvision("vit_b_32", options).build(CIFAR, 4)


@cases(
    "name, shape, says",
    ("alexnet", CIFAR, r"too small\); it takes 3 channels and sides such as 64, 96, 128"),
    ("alexnet", (1, 64, 64), "it takes 3 channels and sides such as 64, 96, 128"),
    ("alexnet", (64,), "needs images"),
    ("fcn_resnet50", CIFAR, "^model.name=fcn_resnet50: there is no such model"),
    ("alxnet", CIFAR, "^model.name=alxnet: there is no such model; did you mean alexnet"),
)
def test_images_that_a_network_does_not_take_and_unknown_names_are_refused(
    name, shape, says
) -> None:
    with pytest.raises(ValueError, match=says):
        Torchvision(name).build(shape, 10)


def test_an_option_that_the_library_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="unexpected keyword argument 'foo'.*model.options"):
        Torchvision("alexnet", {"foo": 1}).build((3, 64, 64), 10)


def test_auxiliary_classifiers_come_only_if_asked_for_and_leave_the_logits() -> None:
    inputs = torch.randn(2, 3, 64, 64)
    for options, modules in (None, 0), ({"aux_logits": True}, 1):
        model = Torchvision("googlenet", options).build((3, 64, 64), 3)
        assert (
            sum(name == "aux1" and m is not None for name, m in model.named_children()) == modules
        )
        assert model(inputs).shape == (2, 3)


def test_pretrained_weights_are_the_file_in_the_cache_of_torch_hub(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    part = Torchvision("squeezenet1_1")
    model = {"_target_": "harness.models.torchvision.Torchvision", "name": "squeezenet1_1"}
    wanted = (
        r"^weights=pretrained: .* squeezenet1_1-b8a52dc0.pth, which is not in .*checkpoints; put"
    )
    with pytest.raises(ValueError, match=wanted):
        weights_digest("pretrained", model)
    file = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir()
    theirs = part.build(CIFAR, 10)
    torch.save(theirs.state_dict(), file)
    assert weights_digest("pretrained", model) == weights_digest(str(file), model)
    ours = part.build(CIFAR, 10)
    load_weights(ours, weights_file("pretrained", part))
    inputs = torch.randn(2, *CIFAR)
    assert torch.equal(ours.eval()(inputs), theirs.eval()(inputs))
    with pytest.raises(ValueError, match="model.pretrained=V3: squeezenet1_1 has IMAGENET1K_V1"):
        Torchvision("squeezenet1_1", pretrained="V3").pretrained_file()


def test_a_model_without_a_library_has_no_pretrained_weights() -> None:
    assert weights_file("own.pt", LeNet5()) == "own.pt"
    with pytest.raises(ValueError, match="^weights=pretrained: LeNet5 brings no weights; give"):
        weights_file("pretrained", LeNet5())


@cases("part", Timm("resnet18"), Transformers("vit"))
def test_a_missing_library_is_named_with_its_extra(part, monkeypatch) -> None:
    library = type(part).__name__.lower()
    monkeypatch.setattr("harness.extras.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=rf"^model={library} needs {library}, huggingface_hub: pip"
    ):
        part.build(CIFAR, 10)


def test_a_network_of_timm_has_the_channels_size_and_classes_of_the_data() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        assert Timm(name).build((1, 32, 32), 7)(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    with pytest.raises(ValueError, match="^model.name=resent18: .* did you mean resnet18"):
        Timm("resent18").build(CIFAR, 10)
    with pytest.raises(ValueError, match="model.safetensors of timm/resnet10t.c3_in1k"):
        Timm("resnet10t.c3_in1k").pretrained_file()


def test_a_network_of_transformers_returns_logits_and_its_config_names_the_run(tmp_path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from transformers import AutoConfig

    model = Transformers("resnet", RESNET).build((1, 32, 32), 7)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 7)
    assert next(iter(model.state_dict())).startswith("resnet.embedder")
    config = {"_target_": "harness.models.transformers.Transformers", "name": str(tmp_path)}
    with pytest.raises(ValueError, match="there is no such model; or give a folder with a config"):
        files_digest(config)
    AutoConfig.for_model("resnet", **RESNET).save_pretrained(tmp_path)
    part, digest = Transformers(str(tmp_path)), files_digest(config)
    torch.save(part.build(CIFAR, 7).state_dict(), tmp_path / "pytorch_model.bin")
    load_weights(part.build(CIFAR, 7), weights_file("pretrained", part))
    assert part.short_name == tmp_path.name and files_digest({**config, "name": "resnet"}) is None
    AutoConfig.for_model("resnet", **{**RESNET, "depths": [2, 1]}).save_pretrained(tmp_path)
    assert None is not digest != files_digest(config)


@cases("outputs", (1, 2), {"logits": 2}, SimpleNamespace(logits=2))
def test_an_entry_is_an_index_or_a_name(outputs) -> None:
    assert OutputEntry(1 if isinstance(outputs, tuple) else "logits").of(outputs) == 2
    with pytest.raises(ValueError, match="^model.output=other: the model returns a"):
        OutputEntry("other").of(outputs)


def test_a_function_gets_what_its_signature_names_unless_options_have_it(nets) -> None:
    assert Python(f"{nets}:small").build((4,), 5).weight.shape == (5, 3)
    assert Python(f"{nets}:small", {"width": 6, "classes": 2}).build((4,), 5).weight.shape == (2, 6)
    assert Python(f"{nets}:by_library").build((4, 3), 5).weight.shape == (5, 12)
    model = Python(f"{nets}:Two", output="logits").build((4,), 5)
    assert torch.equal(model(torch.ones(1)), torch.tensor([2.0]))
    assert Python(f"{nets}:small").short_name == "small"


@cases(
    "target, options, says",
    ("{}.small", None, "must be written as pkg.module:factory, with a colon"),
    ("{}:other", None, "cannot be imported .*; start where the module lies, or set PYTHONPATH"),
    ("{}:constant", None, "is no function or class; name one"),
    ("{}:small", {"size": 1}, "is called with classes, size: .*unexpected keyword argument 'size'"),
)
def test_a_target_that_cannot_be_called_is_refused(nets, target, options, says) -> None:
    with pytest.raises(ValueError, match=rf"^model.target={target.format(nets)} {says}"):
        Python(target.format(nets), options).build((4,), 5)


def test_a_target_is_code_to_the_digest_and_to_trust(nets, tmp_path) -> None:
    part = {"_target_": "harness.models.python.Python", "target": f"{nets}:small"}
    assert Path(tmp_path / f"{nets}.py") in own_files({"model": part})
    with pytest.raises(ValueError, match=rf"^config.target={nets}.small is no component .*--trust"):
        check_parts(part)
    check_parts(part, nets)
    with pytest.raises(ValueError, match="^target=os.system is of os, whose functions no config"):
        build_part({**part, "target": "os:system"})
