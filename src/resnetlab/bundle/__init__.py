"""Model folder of a trained network: `model.safetensors`, `model.json` and a model card.

Start with `spec.py`, then `store.py`.
"""
