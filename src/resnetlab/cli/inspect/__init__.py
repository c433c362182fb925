"""Commands of `resnetlab inspect`: parse, call one function, print.

Heavy imports stay inside them.
"""

from __future__ import annotations

import typer

from resnetlab.cli.inspect import images, modes, networks, runs, windows

inspect = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Inspect a network or a run."
)

for name, command in (
    ("model", networks.model),
    ("conv", windows.conv),
    ("pool", windows.pool),
    ("table", networks.architecture_table),
    ("fully-convolutional", networks.fully_convolutional),
    ("identity", networks.identity),
    ("block-ablation", runs.block_ablation),
    ("gradients", runs.gradients),
    ("landscape", runs.landscape),
    ("dropout", modes.dropout),
    ("modes", modes.modes),
    ("augmentation", images.augmentation),
    ("filters", runs.filters),
):
    inspect.command(name)(command)
