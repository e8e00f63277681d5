"""What carries runs out: processes of this machine, ranks of one run, jobs of a cluster."""
