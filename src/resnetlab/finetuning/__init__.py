"""Fine-tuning of a pre-trained network on a folder of photographs: `rl.finetune("photos")`.

Start with `finetune_photos.py`, then `pipeline.py`.
"""
