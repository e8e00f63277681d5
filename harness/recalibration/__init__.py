"""What is measured anew after a pruning, without training."""
