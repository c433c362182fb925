"""Inspection of networks and runs: layers, receptive fields, gradients, blocks, loss landscapes.

It writes no run. Start with `layers.py`, then `block_ablation.py`.
"""
