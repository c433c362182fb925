"""Networks used like a user's own: `model = "resnetlab.examples.depth_report:residual"`.

Code that a report's authors ran, but that its text does not describe, lives here, so that the
library needs no option for it. No other module imports this package.
Start with `depth_report.py`.
"""
