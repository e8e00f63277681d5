"""What unit goes: a weight, a neuron, a filter. Scores are pooled to units, masks expanded."""
