"""Implements the measurements of scripts/benchmark."""
