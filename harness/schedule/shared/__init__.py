"""Implements what schedules have in common."""
