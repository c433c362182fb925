"""Networks as torch modules, a module for each family."""
