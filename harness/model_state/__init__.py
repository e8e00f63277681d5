"""All that a model holds: saved whole, compared, and told from what no file holds."""
