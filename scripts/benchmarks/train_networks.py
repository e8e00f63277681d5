"""Networks whose training steps are timed, and the loop written by hand that trains them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from benchmarks.masks import global_magnitude
from benchmarks.ranks_step_program import NO_END, loop_of
from benchmarks.task import LEVEL, SEED
from harness.data.base import Split
from harness.distributed import Ranks
from harness.learning_rate.constant import Constant
from harness.models.lenet_300_100 import LeNet300100
from harness.models.resnet_18 import ResNet18
from harness.models.resnet_cifar import ResNetCifar
from harness.models.vgg_bn import VggBn
from harness.training.batches.batching import epoch_order
from harness.training.state_files import build_seeded
from harness.training.trainer import Trainer

LR, MOMENTUM = 0.01, 0.9
QUICK_WIDTH, QUICK_STEPS, QUICK_BATCH = 0.125, 2, 4
QUICK_IMAGE, QUICK_LAYERS = 64, 2


@dataclass(frozen=True)
class Network:
    """Describes a network, its synthetic data, and the work of a round.

    build: from (shape, classes, quick). batch: global size, a power of two, so that a mean and a
    sum times 1 / batch are equal. steps: of an epoch, which is the work of a round. bound: of
    harness / bare.
    """

    name: str
    build: Callable[[tuple[int, ...], int, bool], nn.Module]
    shape: tuple[int, ...]
    classes: int
    batch: int
    steps: int
    rounds: int
    bound: float = 1.03

    def shortened(self) -> "Network":
        """Returns the same path with little work, for a test."""
        shape = (3, QUICK_IMAGE, QUICK_IMAGE) if self.shape[-1] > QUICK_IMAGE else self.shape
        return replace(self, shape=shape, batch=QUICK_BATCH, steps=QUICK_STEPS, rounds=2)

    def split(self) -> Split:
        """Returns synthetic samples in memory, of an epoch without a partial batch."""
        stream = torch.Generator().manual_seed(SEED)
        samples = self.batch * self.steps
        inputs = torch.randn(samples, *self.shape, generator=stream)
        return Split(inputs, torch.randint(self.classes, (samples,), generator=stream))


def _resnet_20(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    return ResNetCifar(width_factor=_width(quick), depth=20).build(shape, classes)


def _vgg_16_bn(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    return VggBn(width_factor=_width(quick)).build(shape, classes)


def _resnet_18(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    return ResNet18(width_factor=_width(quick)).build(shape, classes)


def _resnet_50(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(num_classes=classes)  # type: ignore[no-any-return]


def _vit_s(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    from torchvision.models import VisionTransformer

    layers = QUICK_LAYERS if quick else 12
    return VisionTransformer(shape[-1], 16, layers, 6, 384, 1536, num_classes=classes)  # type: ignore[no-any-return]


def _width(quick: bool) -> float:
    return QUICK_WIDTH if quick else 1.0


def _lenet(shape: tuple[int, ...], classes: int, quick: bool) -> nn.Module:
    return LeNet300100().build(shape, classes)


IMAGES, LARGE = (3, 32, 32), (3, 224, 224)
NETWORKS = {
    network.name: network
    for network in (
        Network("LeNet-300-100", _lenet, (1, 28, 28), 10, 128, 469, 31, bound=1.10),
        Network("ResNet-20", _resnet_20, IMAGES, 10, 128, 6, 15),
        Network("VGG-16-BN", _vgg_16_bn, IMAGES, 10, 32, 4, 11),
        Network("ResNet-18 (32)", _resnet_18, IMAGES, 10, 32, 3, 11),
        Network("ResNet-50 (224)", _resnet_50, LARGE, 1000, 8, 2, 9),
        Network("ViT-S (224)", _vit_s, LARGE, 1000, 8, 2, 9),
    )
}


def optimizer_of(parameters: object) -> SGD:
    return SGD(parameters, lr=LR, momentum=MOMENTUM, fused=True)  # type: ignore[arg-type]


class Bare:
    """Trains with a loop written by hand: order, batches, loss, gradients, step, and no more.

    part: number of this rank and of all ranks.
    """

    def __init__(
        self, model: nn.Module, network: Network, split: Split, part: tuple[int, int] = (0, 1)
    ):
        self.model, self.network, self.split = model, network, split
        self.rank, self.ranks = part
        self.optimizer, self.epoch = optimizer_of(model.parameters()), 0

    def run_epoch(self) -> None:
        model, optimizer, inputs, labels = (
            self.model, self.optimizer, self.split.inputs, self.split.labels,
        )  # fmt: skip
        model.train()
        for batch in epoch_order(len(labels), SEED, LEVEL, self.epoch).split(self.network.batch):
            chosen = batch.tensor_split(self.ranks)[self.rank]
            optimizer.zero_grad(set_to_none=True)
            outputs = model(inputs.index_select(0, chosen))
            F.cross_entropy(outputs, labels.index_select(0, chosen)).backward()
            optimizer.step()
        self.epoch += 1


class Harness:
    """Trains with the harness's loop, with masks of a tenth of the weights or without."""

    def __init__(
        self, model: nn.Module, network: Network, split: Split, ranks: Ranks, masked: bool
    ):
        store = None
        if masked:
            store = global_magnitude(model)
            store.apply_to(model)
        recipe = Trainer(optimizer_of, Constant(), NO_END.epoch, network.batch)
        self.model, self.loop = model, loop_of(ranks, model, split, recipe, store)

    def run_epoch(self) -> None:
        self.loop.run_epoch(NO_END)


def built(network: Network, quick: bool) -> nn.Module:
    """Builds the network with the same initial weights at every call."""
    return build_seeded(lambda: network.build(network.shape, network.classes, quick), SEED)
