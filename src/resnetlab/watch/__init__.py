"""Report page of a study on 127.0.0.1, refreshed while its runs train.

Start with `watcher.py`.
"""
