"""Many runs: plans, grids, searches, costs."""
