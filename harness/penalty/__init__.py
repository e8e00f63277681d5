"""What a training before a pruning adds to the gradients."""
