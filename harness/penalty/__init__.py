"""Adds a penalty to the gradients, in a training before a pruning."""
