"""Implements the commands of the shell; each module reads one command line."""
