"""Cuts pruned units out of a model, and treats norms over them."""
