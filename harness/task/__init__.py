"""What the network is trained for: the loss, and what counts as a hit."""
