"""Defines the files of one run: their names, how they are written and how they are read."""
