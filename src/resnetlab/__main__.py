"""`python -m resnetlab`."""

from resnetlab.cli.main import main

main()
