"""Implements units that are rows, and checks that layers can be divided."""
