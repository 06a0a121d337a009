"""Who we are to an upstream: where logins come from, and how they are kept good.

`renewing.py` is all that a login goes through while it is used; each other module is one way
of getting one.
"""
