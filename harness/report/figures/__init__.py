"""Draws figures for print, and writes tables for LaTeX."""
