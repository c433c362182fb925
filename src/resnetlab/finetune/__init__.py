"""Fitting a pre-trained network to a folder of photographs."""
