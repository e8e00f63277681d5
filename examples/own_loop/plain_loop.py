"""Prunes in steps and retrains in a loop of one's own: harness.prune, a schedule, harness.Masks."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import harness
from harness.schedule.cubic import Cubic

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 4))
inputs = torch.randn(256, 20)
labels = inputs[:, :4].argmax(1)

optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
masks = harness.Masks(model, harness.prune(model, 1.0)).attach(optimizer)
for density in Cubic(final=0.1, levels=3).kept_fractions(float):
    masks.replace(harness.prune(model, density, allocation="uniform"))
    for _ in range(50):
        loss = cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

kept = sum(int(model.get_parameter(name).count_nonzero()) for name in ("0.weight", "2.weight"))
print(f"{kept} of {64 * 24} weights are left, loss {loss:.3f}")
