"""Tests every mixing, and values against torchvision's MixUp and CutMix."""

from functools import partial

import pytest
import torch
from conftest import cases, every
from scipy.special import betaincinv
from torch import Tensor
from torchvision.transforms import v2

from harness.mixing.cutmix import Cutmix
from harness.mixing.mixup import Mixup
from harness.mixing.mixup_or_cutmix import MixupOrCutmix
from harness.mixing.shared.beta import beta_quantile
from harness.vocabulary.counter_rng import uniforms

LABELS = torch.arange(5)


def images() -> Tensor:
    return torch.rand(5, 3, 9, 12, generator=torch.Generator().manual_seed(0))


def rows(count: int, draws: int) -> list[list[float]]:
    return uniforms(0, torch.arange(count), draws).tolist()


@every("mixing")
def test_the_result_depends_on_the_draws_alone_and_the_arguments_stay(mixing) -> None:
    inputs, drawn = images(), rows(2, mixing.draws)
    partners = inputs.roll(1, 0)

    found, weight = mixing.mix(inputs, partners, drawn[0])

    assert torch.equal(inputs, images())
    assert torch.equal(partners, images().roll(1, 0))
    again, same = mixing.mix(inputs[2:3], partners[2:3], drawn[0])
    assert torch.equal(again, found[2:3])
    assert weight == same != mixing.mix(inputs, partners, drawn[1])[1]
    assert 0 <= weight <= 1


@every("mixing")
def test_ids_are_refused(mixing) -> None:
    ids = torch.zeros(2, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="mixing=.* needs"):
        mixing.mix(ids, ids, [0.5] * mixing.draws)


@cases("alpha", 0.05, 0.2, 1.0, 2.5, 8.0)
def test_quantiles_are_those_of_scipy(alpha) -> None:
    for share in (0.0, 1e-9, 0.1, 0.4999, 0.5, 0.7, 0.999, 1 - 2**-53):
        assert beta_quantile(share, alpha) == pytest.approx(betaincinv(alpha, alpha, share))


def test_mixup_is_the_weighted_mean_and_that_of_torchvision(monkeypatch) -> None:
    found, weight = Mixup(alpha=1.0).mix(images(), images().roll(1, 0), [0.25])

    theirs = v2.MixUp(num_classes=5)
    monkeypatch.setattr(theirs, "make_params", lambda _: {"lam": 0.25})
    inputs, targets = theirs(images(), LABELS)
    assert weight == 0.25
    assert torch.equal(found, inputs)
    own = torch.eye(5)
    assert torch.equal(targets, weight * own + (1 - weight) * own.roll(1, 0))


def test_cutmix_pastes_the_box_of_torchvision(monkeypatch) -> None:
    theirs = v2.CutMix(num_classes=5)
    for area, x, y in rows(20, 3):
        found, weight = Cutmix(alpha=1.0).mix(images(), images().roll(1, 0), [area, x, y])

        monkeypatch.setattr(theirs._dist, "sample", lambda _, area=area: torch.tensor(area))
        drawn = partial(next, iter([torch.tensor([int(12 * x)]), torch.tensor([int(9 * y)])]))
        with monkeypatch.context() as patched:
            patched.setattr(torch, "randint", lambda *_, drawn=drawn, **__: drawn())
            inputs, targets = theirs(images(), LABELS)
        assert torch.equal(found, inputs)
        assert float(targets[0, 0]) == pytest.approx(weight)


def test_areas_of_cutmix_are_distributed_as_those_of_torchvision() -> None:
    count, image = 2000, torch.zeros(1, 1, 16, 16)
    torch.manual_seed(0)
    theirs = torch.tensor([v2.CutMix().make_params([image])["lam_adjusted"] for _ in range(count)])
    ours = torch.tensor([Cutmix().mix(image, image, drawn)[1] for drawn in rows(count, 3)])
    for power in (1, 2):
        one, other = ours**power, theirs**power
        spread = ((one.var() + other.var()) / count).sqrt()
        assert abs(one.mean() - other.mean()) < 5 * spread


def test_weights_of_mixup_have_the_moments_of_the_beta_distribution() -> None:
    weights = torch.tensor(
        [Mixup(0.2).mix(torch.zeros(1), torch.zeros(1), drawn)[1] for drawn in rows(5000, 1)]
    )
    variance = 1 / (4 * (2 * 0.2 + 1))
    assert abs(weights.mean() - 0.5) < 5 * (variance / 5000) ** 0.5
    assert float(weights.var()) == pytest.approx(variance, rel=0.05)


def test_the_first_draw_chooses_between_mixup_and_cutmix() -> None:
    inputs, partners, drawn = images(), images().roll(1, 0), [0.3, 0.6, 0.2]
    both = MixupOrCutmix(mixup_alpha=1.0, cutmix_share=0.25)
    assert torch.equal(
        both.mix(inputs, partners, [0.24, *drawn])[0], Cutmix().mix(inputs, partners, drawn)[0]
    )
    assert torch.equal(
        both.mix(inputs, partners, [0.25, *drawn])[0], Mixup(1.0).mix(inputs, partners, drawn)[0]
    )
