"""Commands that use a trained network: predict, evaluate, ensemble, explain, export and serve.

Start with `predict.py`, then `output.py`.
"""
