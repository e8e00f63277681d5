"""Checks a composed config before anything is built or written."""
