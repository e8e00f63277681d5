"""The files of one run: what each is called, written and read as."""
