"""Stands for a package that a user allows by name, with own and imported contents."""

from my_pkg.nets import Small as Small
