"""Implements what augmentations have in common."""
