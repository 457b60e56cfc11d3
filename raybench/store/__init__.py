"""What is kept: the run directory, its tables, and the files of checkpoints."""
