"""What `cacheproxy doctor` looks at: small checks that return what they found.

A check is a function that returns findings and raises nothing; `examination` alone runs them.
Where a server would ask something of an upstream or of Redis, it is asked by the same code;
what lies below that (names, connections, TLS) is tried by itself, so that what is said is
precise.
"""
