"""Implements units that are rows, and the graph that a forward pass shows."""
