"""Data files that resnetlab ships: recipes, studies, published numbers, questions, French texts.

It has no code. Start with `studies/depth.toml`.
"""
