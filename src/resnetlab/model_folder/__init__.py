"""Model folder of a trained network: `model.safetensors`, `model.json` and a model card.

Start with `model_file.py`, then `store.py`.
"""
