"""Contains everything that uses the machine: files, locks, signals, names and errors."""
