"""What names a run beside its config: digests of its data and of the code that it uses."""
