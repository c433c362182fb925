"""Model folder of a trained network: `weights.safetensors`, `model.json` and a model card."""
