"""Implements what changes weights at a step: optimizer, groups of parameters, averages."""
