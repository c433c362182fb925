"""Networks: from a name, a table or a file to a config, and from a config to a network.

Start with `nets/cifar.py` and `nets/shortcuts.py`, then `build.py`.
"""
