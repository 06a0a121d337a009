"""Range requests, answered as Go's `http.ServeContent` does, and distribution with it."""

import re
from dataclasses import replace

from tests.support.scripted_registry.answer import Answer, Asked


def ranged(answer: Answer, asked: Asked) -> Answer:
    """The part of a 200 that was asked for; several ranges at once are not granted: a 200.

    distribution 2.8 leaves the blob's Content-Length in its 416 and then hangs up;
    `WrongContentLength` scripts that.
    """
    wanted = asked.headers.get("Range")
    if wanted is None or "," in wanted or not _still_meant(answer, asked):
        return answer
    size = len(answer.body)
    found = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", wanted, re.ASCII)
    if found is None or found[0] == "bytes=-":
        return _unsatisfiable(answer)
    first, end = _window(found[1], found[2], size)
    if first >= size:
        return _unsatisfiable(answer).having("Content-Range", f"bytes */{size}")
    if end <= first:
        return _unsatisfiable(answer)
    part = replace(answer, status=206, body=answer.body[first:end])
    return part.having("Content-Range", f"bytes {first}-{end - 1}/{size}")


def _window(first: str, last: str, size: int) -> tuple[int, int]:
    """Where the range starts, and the first byte after it."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def _still_meant(answer: Answer, asked: Asked) -> bool:
    condition = asked.headers.get("If-Range")
    return condition is None or condition == answer.header("ETag")


def _unsatisfiable(answer: Answer) -> Answer:
    refused = replace(answer, status=416, body=b"invalid range\n")
    return refused.lacking("Accept-Ranges").having("Content-Type", "text/plain; charset=utf-8")
