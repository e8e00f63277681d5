"""Measures statistics anew after a pruning, without training."""
