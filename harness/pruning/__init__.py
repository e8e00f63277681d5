"""Prunes a model once: what may be pruned, how much, and which weights."""
