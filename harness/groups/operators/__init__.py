"""Says of each operator which of its dimensions go together; rules.py lists them."""
