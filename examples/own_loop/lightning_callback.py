"""Keeps the masks of harness.prune in a fit of Lightning: Trainer(callbacks=[KeepMasks(masks)])."""

from lightning.pytorch import Callback

import harness


class KeepMasks(Callback):
    def __init__(self, masks):
        self.masks = masks

    def on_train_start(self, trainer, pl_module):
        masks = harness.Masks(pl_module, self.masks)
        for optimizer in trainer.optimizers:
            masks.attach(optimizer)
