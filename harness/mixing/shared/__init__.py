"""Implements what mixings have in common."""
