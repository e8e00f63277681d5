"""Implements what convolutional models have in common."""
