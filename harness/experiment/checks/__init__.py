"""Checks before any training that parts, data, task and model of a run fit each other."""
