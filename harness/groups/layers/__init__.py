"""Says what torch's layers and norms need when their units are removed."""
