"""Ties the heads of attention to the width of what they read, where code makes them one size."""
