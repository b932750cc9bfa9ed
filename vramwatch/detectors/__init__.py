"""One growth pattern each, in a file of its name. Pure: they see a Window and nothing else."""
