"""Runs one experiment, top to bottom; start reading at runner.py."""
