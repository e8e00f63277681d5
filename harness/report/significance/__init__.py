"""From results to statements: spread over seeds, comparisons, ranks."""
