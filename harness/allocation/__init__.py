"""Divides a budget of units between layers, by pure functions of scores and sizes."""
