"""A trained network as a folder: `weights.safetensors`, `model.json` and a model card."""
