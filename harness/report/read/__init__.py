"""Reads the files of runs into tables of results."""
