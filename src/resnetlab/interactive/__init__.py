"""Functions for Python and notebooks that do what commands of the command line do."""
