"""Checks losses and measures of tasks."""
