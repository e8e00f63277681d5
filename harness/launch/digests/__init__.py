"""Computes digests of the data and of the code that a run uses."""
