"""Deployment of a trained network from its model folder: predict, evaluate, ensemble, explain,
export and serve.
"""
