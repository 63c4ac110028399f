"""Training configs, grids of runs, and tables of their results."""
