"""Tests networks of torchvision, by their names there."""

import pytest
import torch
import torchvision
from conftest import cases

from harness.models.torchvision import Torchvision


def test_the_network_is_that_of_torchvision_with_another_head() -> None:
    torch.manual_seed(0)
    built = Torchvision("shufflenet_v2_x0_5").build((3, 64, 64), 7)
    torch.manual_seed(0)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=7)
    assert type(built) is type(theirs)
    pairs = zip(built.state_dict().values(), theirs.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@cases(
    "name, shape, message",
    ("resnet81", (3, 64, 64), "no network of torchvision for classes; did you mean resnet18"),
    ("fcn_resnet50", (3, 64, 64), "no network of torchvision for classes"),
    ("resnet18", (1, 28, 28), r"needs inputs \(3, height, width\), .* write data.channels=3"),
)
def test_other_networks_and_grey_inputs_are_refused(name, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        Torchvision(name).build(shape, 10)
