"""Reads all state of a model: saves and compares it, and finds what no file holds."""
