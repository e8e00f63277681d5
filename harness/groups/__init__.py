"""Finds what of a network goes together, and removes it; start reading at group.py."""
