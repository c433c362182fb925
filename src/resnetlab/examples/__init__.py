"""Networks from outside, reached as a person's own are: `model = "resnetlab.examples.depth_report:residual"`.

Code that a report's authors ran and its text does not describe lives here, so that the library needs no flag for it.
No other module imports this package.
"""
