"""The one place that wires adapters to the core, and runs what comes of it.

`running` serves. This module imports nothing, so that a worker imports only what serves pulls.
"""
