"""Rehearses a run before it trains; start reading at rehearsal.py."""
