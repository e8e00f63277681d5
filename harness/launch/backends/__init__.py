"""Executes runs: in worker processes of this machine, on ranks of one run, in jobs of a cluster."""
