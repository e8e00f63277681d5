"""What masks may do between prunings, while the network trains."""
