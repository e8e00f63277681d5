"""Turns results into statements: spread over seeds, comparisons, ranks."""
