"""Model folder of a trained network: `model.safetensors`, `model.json` and a model card."""
