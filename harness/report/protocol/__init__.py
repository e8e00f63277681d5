"""Checks the rules of a fair survey."""
