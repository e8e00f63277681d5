"""Decides which samples a step trains on, and changes them."""
