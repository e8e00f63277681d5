"""An own package, as one that a user allows by name: some of it is its own, some of others."""

from my_pkg.nets import Small as Small
