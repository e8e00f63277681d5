"""One pruning event: what may go, how much, what goes. Knows no levels and no files."""
