"""Plan and execute many runs: grids, searches, their plans and costs."""
