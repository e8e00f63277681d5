"""What structures share: units that are rows, and the graph that a forward shows."""
