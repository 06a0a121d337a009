"""Having images in the cache before anybody asks: what is wanted, and how far it is."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from cacheproxy.domain import media_types
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import ManifestInvalid, ManifestUnknown
from cacheproxy.domain.manifest import Descriptor, Manifest
from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.rate_limit import Spend

# Of one request: images, characters of each, and how many may come at once.
MOST_IMAGES = 10_000
LONGEST_NAME = 1024
MOST_PARALLEL = 64

State = Literal["resolving", "fetching", "done", "failed"]


@dataclass(frozen=True, slots=True)
class WarmTerms:
    """How to warm.

    Attributes:
        platforms: which of those that an image is for.
        parallel: images at once, and blobs at once.
        within: upstream's word on a tag may be so many seconds old; 0: it is asked.
        spend: what pulls of its rate limit count as: `refresh` leaves alone what is kept for
            clients.
        is_use: what is here already counts as used, as by a pull.
    """

    platforms: Platforms
    parallel: int = 2
    within: float = 0.0
    spend: Spend = "fetch"
    is_use: bool = True


def read_request(document: object, default: WarmTerms) -> tuple[list[str], WarmTerms]:
    """The images of a request of the API, and how to warm them.

    Args:
        document: `{"images": […], "platforms": […], "parallel": 2}`; the last two may be left out.
        default: what holds then.

    Raises:
        ValueError: it is none, or asks for too much.
    """
    match document:
        case {"images": [*images], **how} if all(isinstance(image, str) for image in images):
            names = [str(image) for image in images]
        case _:
            raise ValueError('a request is {"images": ["NAME:TAG", …]}')
    if len(names) > MOST_IMAGES or any(len(name) > LONGEST_NAME for name in names):
        raise ValueError(
            f"a request has at most {MOST_IMAGES} images, with {LONGEST_NAME} characters each"
        )
    return names, replace(
        default,
        platforms=_platforms(how.get("platforms"), default),
        parallel=_parallel(how.get("parallel"), default),
    )


def _platforms(written: object, default: WarmTerms) -> Platforms:
    if written is None:
        return default.platforms
    if not isinstance(written, list) or not all(isinstance(text, str) for text in written):
        raise ValueError("platforms must be a list of texts")
    return Platforms.parse(written)


def _parallel(written: object, default: WarmTerms) -> int:
    if written is None:
        return default.parallel
    match written:
        case bool():
            pass  # which is an int in Python
        case int() if 1 <= written <= MOST_PARALLEL:
            return written
        case _:
            pass
    raise ValueError(f"parallel must be a number from 1 to {MOST_PARALLEL}")


@dataclass(frozen=True, slots=True)
class WarmStep:
    """How far one image is. Bytes and blobs are those of configs and layers.

    Attributes:
        image: its whole name; as it was written, where that is no name.
        state: `resolving` asks what it is, `fetching` what it consists of; then it has ended.
        digest: of its manifest or index, once that is known.
        blobs_total: of the platforms that are wanted, as far as is known.
        blobs_done: that are in the store.
        bytes_total: of all of them.
        bytes_done: that are on disk.
        fetched_bytes: of those, that came from upstream for this.
        replica_bytes: that came from other replicas.
        here_bytes: that were here before.
        seconds: that it took; 0 until it is over.
        error: why it failed, in a sentence.
    """

    image: str
    state: State
    digest: Digest | None = None
    blobs_total: int = 0
    blobs_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    fetched_bytes: int = 0
    replica_bytes: int = 0
    here_bytes: int = 0
    seconds: float = 0.0
    error: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed")


@dataclass(frozen=True, slots=True)
class WarmSummary:
    """What it all came to.

    Attributes:
        images: that were asked for, each once.
        done: that are warm.
        failed: that are not.
        fetched_bytes: as in `WarmStep`, of all images; a blob of several counts once.
        replica_bytes: likewise.
        here_bytes: likewise, but that a blob of several is here for all but the first.
        seconds: from begin to end.
    """

    images: int
    done: int
    failed: int
    fetched_bytes: int
    replica_bytes: int
    here_bytes: int
    seconds: float


def summed(steps: Iterable[WarmStep], seconds: float) -> WarmSummary:
    """The last steps of all images, summed."""
    last = list(steps)
    return WarmSummary(
        images=len(last),
        done=sum(step.state == "done" for step in last),
        failed=sum(step.state == "failed" for step in last),
        fetched_bytes=sum(step.fetched_bytes for step in last),
        replica_bytes=sum(step.replica_bytes for step in last),
        here_bytes=sum(step.here_bytes for step in last),
        seconds=seconds,
    )


def line(told: WarmStep | WarmSummary) -> dict[str, Any]:
    """As a line of the API's answer: `{"step": {…}}`, and at the end `{"summary": {…}}`."""
    kind = "step" if isinstance(told, WarmStep) else "summary"
    return {kind: asdict(told)}


def read_line(document: object) -> WarmStep | WarmSummary | None:
    """What a line of the API's answer says; None where it is of a later version, or of nobody."""
    match document:
        case {"step": {"image": str(), "state": str(), **rest} as step} if rest:
            return WarmStep(**_known(WarmStep, step))
        case {"summary": {"images": int(), **rest} as summary} if rest:
            return WarmSummary(**_known(WarmSummary, summary))
        case _:
            return None


def _known(kind: type, written: dict[Any, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {str(name): value for name, value in written.items() if name in names}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a manifest refers to, of what is wanted.

    Attributes:
        manifests: of an index: the images.
        blobs: of an image: config and layers, each once.
    """

    manifests: tuple[Descriptor, ...] = ()
    blobs: tuple[Descriptor, ...] = ()


def wanted_of(manifest: Manifest, platforms: Platforms) -> Wanted:
    """Choose among what a manifest refers to.

    An image that is no part of an index is for one platform, and is taken as it is. What has
    to be had elsewhere (foreign layers) is left out: registries often lack it.

    Raises:
        ManifestUnknown: it is an index, and none of it is for any of the platforms.
    """
    if manifest.media_type not in media_types.INDEXES:
        ours = {child.digest: child for child in manifest.children if not child.has_urls}
        return Wanted(blobs=tuple(ours.values()))
    chosen = {
        child.digest: child for child in manifest.children if platforms.accept(child.platform)
    }
    if manifest.children and not chosen:
        raise ManifestUnknown(f"it is not for {platforms}, but for {_offered(manifest)}")
    return Wanted(manifests=tuple(chosen.values()))


def _offered(manifest: Manifest) -> str:
    known = (child.platform for child in manifest.children)
    offered = dict.fromkeys(str(one) for one in known if one is not None and not one.is_unknown)
    return ", ".join(offered) or "no platform at all"


# An index of indexes is allowed; nobody builds deeper ones.
_DEEPEST = 4


def deeper(depth: int) -> int:
    """One level further down.

    Raises:
        ManifestInvalid: so deep no image is.
    """
    if depth >= _DEEPEST:
        raise ManifestInvalid(f"its indexes are nested more than {_DEEPEST} deep")
    return depth + 1
