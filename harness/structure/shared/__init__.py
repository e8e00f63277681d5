"""Implements units inside one weight and of groups, and checks that layers can be divided."""
