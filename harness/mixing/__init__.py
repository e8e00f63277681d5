"""Mixes samples of a training batch with one another, and their labels."""
