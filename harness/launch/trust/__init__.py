"""A folder of runs is data: what of it may be built, and the network that it describes."""
