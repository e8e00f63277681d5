"""How the command line starts runs: where conf/ lies, what a method is, sweeps, plain errors."""
