"""Plans and executes many runs: grids, searches, their plans and costs."""
