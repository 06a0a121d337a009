"""What is remembered besides bytes: links of repositories, and listings."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Link:
    """That a repository holds a digest: the licence to serve it under that repository.

    Attributes:
        size: in bytes, where a descriptor of a verified manifest says so.
        media_type: of a manifest, as upstream sent it; of anything else None.
        is_read: of a manifest, that what it refers to is linked to the repository too.
    """

    size: int | None = None
    media_type: str | None = None
    is_read: bool = False

    def or_known(self, known: "Link | None") -> "Link":
        """This link, with what it lacks taken from what was known before."""
        if known is None:
            return self
        return Link(
            self.size if self.size is not None else known.size,
            self.media_type or known.media_type,
            self.is_read or known.is_read,
        )


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of tags or referrers as upstream sent it.

    Attributes:
        body: JSON.
        media_type: to send as Content-Type.
        next_query: the query of upstream's `rel="next"` link, as it wrote it; None on the
            last page.
        filters: OCI-Filters-Applied, if upstream sent it.
        checked_at: seconds since the epoch, by the cluster's clock.
        epoch: of that clock; 0: it was never measured.
        writer: the process that stamped the record; empty until it has.
    """

    body: bytes
    media_type: str
    next_query: str | None
    filters: str | None
    checked_at: float
    epoch: int = field(default=0, compare=False)
    writer: str = field(default="", compare=False)
