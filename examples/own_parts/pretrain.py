"""python pretrain.py FILE: trains ResidualMlp on Spirals without the harness and saves it."""

import sys

import torch
from residual_mlp import ResidualMlp
from safetensors.torch import save_file
from spirals import Spirals
from torch import nn


def pretrained(steps: int = 300) -> nn.Module:
    torch.manual_seed(0)
    splits = Spirals().load()
    model = ResidualMlp().build(splits.shape, splits.classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(splits.train.inputs), splits.train.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    save_file(pretrained().state_dict(), sys.argv[1])
