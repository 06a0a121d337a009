"""The words of the protocol between replicas: `GET /peer/v1/blobs/<digest>?start=&stop=&ahead=`.

One that does not have it answers 404. One that serves as many as it may answers 503; so does, with
`ahead=1`, one that is getting it, and has no more by now than what is before `start`.
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

WAITING = "Cacheproxy-Waiting"
"""With a 503: the replica has no byte behind `start`, and waits for upstream itself."""
