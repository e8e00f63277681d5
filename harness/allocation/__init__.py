"""How a budget of units is shared between layers. Pure functions of scores and sizes."""
