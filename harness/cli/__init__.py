"""Commands of the shell: the only modules that read a command line."""
