"""What is remembered besides bytes: links of repositories, and listings."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Link:
    """That a repository holds a digest: the licence to serve it under that repository.

    Attributes:
        size: in bytes, as a descriptor or upstream states it; a hint unless `is_read`.
        media_type: of a manifest; of anything else None.
        is_read: of a manifest, that what it refers to is linked to the repository too.
    """

    size: int | None = None
    media_type: str | None = None
    is_read: bool = False

    def or_known(self, known: "Link | None") -> "Link":
        """Return this link, completed by what was known before.

        A size and a type that were read from a manifest itself overrule what others say of it.
        """
        if known is None:
            return self
        first, second = (known, self) if known.is_read and not self.is_read else (self, known)
        return Link(
            first.size if first.size is not None else second.size,
            first.media_type or second.media_type,
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
