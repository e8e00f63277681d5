"""Reads values that people give to calls, and describes those that are none."""
