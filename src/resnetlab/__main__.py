"""`python -m resnetlab`."""

from resnetlab.cli.leaving import run

run()
