"""How replicas know each other: a signature over what is asked for, by a secret they share.

It is good for one blob and for some minutes, so that who reads one on the way can ask for
nothing else with it.
"""

import hashlib
import hmac

from cacheproxy.domain.digest import Digest

SCHEME = "Cacheproxy-HMAC-SHA256"
# By how much clocks may differ, and a request may be late.
_SECONDS = 300.0
_LONGEST = 200


def sign(secret: bytes, digest: Digest, now: float) -> str:
    """The Authorization field of a request for a blob."""
    at = str(int(now))
    return f"{SCHEME} {at}:{_signature(secret, digest, at)}"


def is_signed(secret: bytes, field: str, digest: Digest, now: float) -> bool:
    """Whether an Authorization field is one of ours, for this blob and about now."""
    scheme, _, rest = field[:_LONGEST].partition(" ")
    at, _, signature = rest.partition(":")
    if scheme != SCHEME or not (at.isascii() and at.isdigit() and signature.isascii()):
        return False
    is_right = hmac.compare_digest(signature, _signature(secret, digest, at))
    return is_right and abs(now - int(at)) <= _SECONDS


def _signature(secret: bytes, digest: Digest, at: str) -> str:
    return hmac.new(secret, f"{at} {digest}".encode(), hashlib.sha256).hexdigest()
