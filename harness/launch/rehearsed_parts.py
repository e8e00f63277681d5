"""Holds the names of parts that need no rehearsal in this process."""

# Names of parts (`Run.parts`) that this process has rehearsed, or the sweep that sends its runs.
REHEARSED: set[str] = set()
