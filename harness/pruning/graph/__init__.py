"""Reads from one forward pass which layer comes first and last, and what is used of a weight."""
