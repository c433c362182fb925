"""HTTP service that predicts the classes of photographs.

Start with `server.py`, then `prediction_service.py`.
"""
