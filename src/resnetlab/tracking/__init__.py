"""Copies of runs in the trackers of others: TensorBoard, MLflow, Weights & Biases, trackio.

Start with `tracker_copy.py`.
"""
