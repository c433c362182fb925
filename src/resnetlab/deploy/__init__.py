"""Use of a trained network from its model folder: predict, evaluate, explain, export, serve.

Start with `predict.py`, then `evaluate.py`.
"""
