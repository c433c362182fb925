"""`python -m resnetlab`."""

from resnetlab.cli.entry_point import run

run()
