"""Defines the units that are pruned: a weight, a neuron, a filter."""
