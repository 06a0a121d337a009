"""The rule by which a broken download asks for the rest, or for the whole again."""

from dataclasses import dataclass

from cacheproxy.domain.errors import CacheproxyError, Denied, UpstreamError, UpstreamRefused

# A server error, or a refusal by storage, may be about anything: the second one in a row counts
# as one of the range.
_DOUBTS = 2


@dataclass(frozen=True, slots=True)
class Resumption:
    """The way in which the next attempt asks.

    Ranges are optional (RFC 9110 §14.2), and storage may refuse those that its signed URLs do
    not allow. The whole costs bytes that are on disk already, but it comes.

    Attributes:
        is_partial: ask for the rest; else for the whole, and skip what is here.
        doubts: responses in a row that may have refused the range.
    """

    is_partial: bool = True
    doubts: int = 0

    def start(self, offset: int) -> int:
        """Return the first byte to ask for.

        Args:
            offset: bytes that are here.
        """
        return offset if self.is_partial else 0

    def refused(self, error: CacheproxyError, *, is_last: bool) -> "Resumption":
        """Return the way after a request for a part, or for the whole, has failed.

        Args:
            error: the failure.
            is_last: there will be no further attempt in the same way.
        """
        if not self.is_partial:
            return Resumption()  # the range was not the reason
        if isinstance(error, UpstreamRefused | Denied):
            return Resumption(is_partial=False)
        if not (isinstance(error, UpstreamError) and error.is_response):
            return self
        doubts = self.doubts + 1
        return Resumption(is_partial=not is_last and doubts < _DOUBTS, doubts=doubts)
