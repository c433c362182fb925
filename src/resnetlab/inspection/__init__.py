"""Inspection of networks and runs: layers, receptive fields, gradients, blocks, loss surfaces.

It writes no run. Start with `layers.py`, then `block_ablation.py`.
"""
