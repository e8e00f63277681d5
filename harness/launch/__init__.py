"""Turns a config into running processes: composes configs, names methods, starts sweeps."""
