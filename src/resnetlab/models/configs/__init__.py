"""The families of networks as data, a module each. Free of torch."""
