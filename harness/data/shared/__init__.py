"""Implements what data sets have in common."""
