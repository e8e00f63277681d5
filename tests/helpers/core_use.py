"""Uses the harness as a library, and runs it once, with what a plain `pip install` brings.

With the argument `refuse` the packages of all extras and Hydra's plugins are refused, as if they
were not installed; the arguments behind it are a command line, which is run instead.
"""

import sys
from pathlib import Path

import torch
from torch import nn

import harness
from harness.cli.main import main
from harness.extras import EXTRAS
from harness.schedule.cubic import Cubic

RUN = (
    "data=blobs", "model=mlp", "training.epochs=1", "retraining.epochs=1", "schedule=one_shot",
    "calibration.samples=64", "tracking=none", "progress=none",
)  # fmt: skip
Batch = tuple[torch.Tensor, torch.Tensor]
EXTRA_PACKAGES = {name for names in EXTRAS.values() for name in names}


def prune() -> None:
    """Scores and prunes a model of one's own to the densities of a schedule."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    batches = [(torch.randn(32, 8), torch.arange(32) % 4)]
    scores = harness.score(model, "weight_gradient", batches=batches)
    assert scores.keys() == {"0.weight", "2.weight"}
    for density in Cubic(final=0.25, levels=2).kept_fractions(lambda density: density):
        masks = harness.prune(model, density, saliency="weight_gradient", batches=batches)
    assert sum(int(mask.sum()) for mask in masks.values()) == 48
    train(model, masks, batches)
    harness.to_torch_prune(model, masks)


def train(model: nn.Module, masks: dict[str, torch.Tensor], batches: list[Batch]) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    harness.Masks(model, masks).attach(optimizer)
    for inputs, labels in batches:
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


def run_and_load() -> None:
    assert main(RUN) == 0
    (file,) = Path("runs").rglob("model.safetensors")
    model, masks = harness.load(file.parent)
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["refuse"]:
        # None refuses the import.
        sys.modules.update(dict.fromkeys([*EXTRA_PACKAGES, "hydra_plugins"]))
    if words[1:]:
        sys.exit(main(words[1:]))
    prune()
    run_and_load()
    print("loaded:", *sorted(EXTRA_PACKAGES & {name for name in sys.modules if sys.modules[name]}))
