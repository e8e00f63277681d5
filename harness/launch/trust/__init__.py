"""Decides what may be built from a folder of runs, which is data and not code."""
