"""Where the driver itself runs when that is not here: a Ray cluster's Jobs API, or a Slurm allocation. Imports only core."""
