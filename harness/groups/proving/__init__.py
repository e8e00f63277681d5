"""Runs a masked and a removed network beside each other, and compares them call by call."""
