"""Checks before any training that the data, the task and the model of a run fit each other."""
