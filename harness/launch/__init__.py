"""Turns a config into running processes: composes configs, names methods, starts runs and sweeps."""
