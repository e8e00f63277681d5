"""Defines what a model is trained for: the loss, and what counts as a hit."""
