"""Sensitivity analysis: what each layer alone costs when it is pruned and nothing is retrained."""
