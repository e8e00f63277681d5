"""Figures for print, and tables for LaTeX."""
