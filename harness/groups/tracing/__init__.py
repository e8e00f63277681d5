"""Follows the ids of parameters through one forward pass."""
