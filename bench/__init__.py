"""cacheproxy beside its peers, in one run on one machine, behind one slow link.

`make bench`, or `python -m bench` from the checkout; `--quick` for a look in two minutes. It
needs docker-registry, and measures nginx and requests per second only where nginx and wrk are
installed; the slow link needs root and Linux, and without it everything is on loopback.

How to read it: absolute numbers are this machine's, and of this moment; compare columns, not
runs. Each cell is the median of its rounds, with the best one beside it. For a cold blob:
`amplification` is what crossed the link ÷ what one direct download of the blob makes cross
(1.00 is perfect, the number of clients is what no cache at all would do); `last ÷ direct` is
the time of the slowest client ÷ that of one direct download; `first byte` is the worst
client's wait for the first byte of the body. All clients run on this machine too: what they
cost, the subject does not have.

A warm blob over TLS is measured by itself, one process of each, where wrk is installed: what the
client spends on it is the same for both.

It ends with what Redis sees of several replicas (`bench.shared`), where redis-server is installed.
"""
