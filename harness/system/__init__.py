"""Files, locks, signals, names and errors: what the harness asks of the machine."""
