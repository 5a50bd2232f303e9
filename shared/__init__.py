"""What both stations and the bureau must agree on; holds the version and nothing else."""

__version__ = "0.1.0"
