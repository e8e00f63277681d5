"""Keeps the masks of harness.prune in transformers: Trainer(..., callbacks=[KeepMasks(masks)])."""

from transformers import TrainerCallback

import harness


class KeepMasks(TrainerCallback):
    def __init__(self, masks):
        self.masks = masks

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        harness.Masks(model, self.masks).attach(optimizer)
