"""One image, pulled three times through the proxy: what crosses the upstream link each time.

Run it from the checkout, `make demo` or `python -m demo`: its parts are those of the tests
(`tests/support`), which no package contains. It needs a real registry on this machine, and no
internet.
"""
