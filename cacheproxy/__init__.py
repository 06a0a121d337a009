"""cacheproxy: a pull-through caching proxy for container registries.

Read `cacheproxy.bootstrap` for how the parts are put together, and
`cacheproxy.pullthrough.pull_through` for what a pull does.
"""

__version__ = "0.1.0"
