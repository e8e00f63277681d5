"""One run, top to bottom; start reading at runner.py."""
