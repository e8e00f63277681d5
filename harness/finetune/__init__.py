"""Chooses the weights, the recipe and the first epoch of retraining."""
