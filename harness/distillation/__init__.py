"""Trains the pruned model on the dense model's outputs while it retrains."""
