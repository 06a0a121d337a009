"""Registries with quirks, asked directly and through the proxy, with the same result.

`quirks` are data, each named after a public report; `profiles` are the sets of them that
well-known registries have. `compare` pulls from a registry with a set of quirks, and through the
proxy in front of it. `python -m tests.differential` writes docs/compatibility.md.
"""
