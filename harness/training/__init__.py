"""Contains the training loop, evaluation, and dense training with its cache."""
