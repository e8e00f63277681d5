"""Lists the rule of each operator, by its name in aten without the in-place underscore."""

from harness.groups.operators import (
    elementwise,
    joining,
    layers,
    movement,
    norms,
    picking,
    products,
    reshape,
)
from harness.groups.operators.call import Rules

RULES: Rules = {
    **elementwise.RULES,
    **joining.RULES,
    **layers.RULES,
    **movement.RULES,
    **norms.RULES,
    **picking.RULES,
    **products.RULES,
    **reshape.RULES,
}
