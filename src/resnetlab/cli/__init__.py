"""Command line: each command parses its options, calls one function and prints the result.

Heavy imports are inside the commands, so that `resnetlab --help` answers at once. Start with
`main.py`, then `train.py`.
"""
