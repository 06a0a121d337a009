"""URLs of content that a registry keeps elsewhere: signed, and perhaps not valid for long."""

import hashlib
import itertools
from dataclasses import dataclass
from html import escape

from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.ranges import ranged

PREFIX = "/signed/"
# Encoded as object stores do it: a client that decodes and encodes again breaks the signature.
_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260101%2Fauto%2Fs3%2Faws4_request"
    "&response-content-disposition=attachment%3B%20filename%3D%22a%2Bb%22&X-Amz-Signature={}%2B%3D"
)


@dataclass(slots=True)
class _Signed:
    """One signed URL: its content, its query, and how much longer it is valid."""

    body: bytes
    query: str
    uses: int | None
    base: str


class SignedUrls:
    """Hands out URLs, and answers those who come with one."""

    def __init__(self) -> None:
        self.base = ""
        self._signed: dict[str, _Signed] = {}
        self._numbers = itertools.count(1)

    def offer(self, answer: Answer, *, uses: int | None, hops: int, relative: bool) -> str:
        """The URL (or the path, if `relative`) of the answer's body, `hops - 1` redirects away."""
        number = str(next(self._numbers))
        query = _QUERY.format(hashlib.sha256(number.encode()).hexdigest())
        base = "" if relative else self.base
        self._signed[number] = _Signed(answer.body, query, uses, base)
        return self._location(number, hops)

    def respond(self, asked: Asked) -> Answer:
        """The content, a redirect to it, or why not, as S3 would answer."""
        number, _, rest = asked.path.removeprefix(PREFIX).partition("/")
        signed = self._signed.get(number)
        if not asked.path.startswith(PREFIX) or signed is None:
            return s3_error(404, "NoSuchKey", "The specified key does not exist.")
        if asked.query_string != signed.query:
            return s3_error(403, "SignatureDoesNotMatch", "The calculated signature differs.")
        if rest.startswith("hop/"):
            return Answer(307, (("Location", self._location(number, int(rest[4:]))),))
        if signed.uses == 0:
            return s3_error(403, "AccessDenied", "Request has expired")
        if signed.uses is not None:
            signed.uses -= 1
        return ranged(_stored(signed.body), asked)

    def _location(self, number: str, hops: int) -> str:
        signed = self._signed[number]
        where = "data" if hops == 1 else f"hop/{hops - 1}"
        return f"{signed.base}{PREFIX}{number}/{where}?{signed.query}"


def s3_error(status: int, code: str, message: str) -> Answer:
    """An error as S3 writes it."""
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
    return Answer(status, (("Content-Type", "application/xml"),), body)


def _stored(body: bytes) -> Answer:
    etag = '"' + hashlib.md5(body).hexdigest() + '"'
    headers = (("Content-Type", "binary/octet-stream"), ("Accept-Ranges", "bytes"), ("ETag", etag))
    return Answer(200, headers, body)
