"""Implements what allocations and the search for their counts share."""
