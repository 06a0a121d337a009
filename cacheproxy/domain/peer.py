"""The words of the protocol between replicas: `GET /peer/v1/blobs/<digest>?start=&stop=&ahead=`.

One that does not have it answers 404; with `ahead=1` so does one that is getting it, and has no
more by now than what is before `start`. One that serves as many as it may answers 503.
"""

PATH = "/peer/v1/blobs/"

START = "Cacheproxy-Start"
"""The offset of the first byte of an answer."""

SIZE = "Cacheproxy-Size"
"""Bytes of the whole blob, where that is known."""

ASKER = "Cacheproxy-Replica"
"""The address of who asks, where others may ask it."""

READERS = "Cacheproxy-Readers"
"""With a 503: addresses of those who read the blob from there, with commas between them."""
