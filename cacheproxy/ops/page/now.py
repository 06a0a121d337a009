"""What goes on now: downloads, upstreams, the disk, replicas. Asked for every second or two."""

from collections.abc import Iterator

from cacheproxy.ops.api.figures import Missing
from cacheproxy.ops.api.model import FillStatus, Status, StoreStatus, UpstreamStatus
from cacheproxy.ops.page import words
from cacheproxy.ops.page.markup import Markup, element, joined
from cacheproxy.ops.page.parts import badge, bar, missing, panel, path, table

_FILLS = 12
# More of them have the whole width of the page, and less height each.
_FEW_UPSTREAMS = 8
_STATES = {
    "up": ("up", "●"),
    "down": ("down", "▲"),
    "paused": ("resting", "◐"),
    "unknown": ("not asked yet", "○"),
}
_FAILING_FIRST = ("down", "paused", "up", "unknown")


def render_now(status: Status | Missing) -> Markup:
    """All parts of the page that change from moment to moment, each with an id of its own."""
    parts = (fills(status), upstreams(status), disk(status), replicas(status))
    return joined(parts)


def fills(status: Status | Missing) -> Markup:
    """Downloads under way, the oldest first."""
    title = "Downloads under way"
    if isinstance(status, Missing):
        return panel("fills", title, missing(status))
    if not status.fills:
        nothing = element("p", "Nothing is being fetched.", class_="quiet")
        return panel("fills", title, nothing, data_fills=0)
    oldest = sorted(status.fills, key=lambda fill: (-fill.seconds, fill.digest))
    shown = element("ul", map(_fill, oldest[:_FILLS]), class_="fills")
    more = len(oldest) - _FILLS
    rest = element("p", f"and {words.number(more)} more", class_="quiet") if more > 0 else None
    count = words.number(len(oldest))
    return panel("fills", title, shown, rest, beside=badge(count), data_fills=len(oldest))


def _fill(fill: FillStatus) -> Markup:
    size, here = fill.size_bytes, fill.received_bytes
    name = f"{fill.upstream}/{fill.repository}"
    progress = element(
        "progress",
        max=size or 1,
        # Without a value it is one whose end is not known.
        value=None if size is None else min(here, size),
        aria_label=f"Download of {words.short(fill.digest)} of {name}",
    )
    return element(
        "li",
        element(
            "p",
            element("span", fill.repository, class_="name", title=name),
            element("span", "" if not size else words.share(here, size), class_="amount"),
            class_="line",
        ),
        progress,
        element("p", " · ".join(_said_of(fill)), class_="quiet"),
        data_key=fill.digest,
    )


def _said_of(fill: FillStatus) -> Iterator[str]:
    here, size = fill.received_bytes, fill.size_bytes
    yield fill.upstream
    yield f"{words.size(here)} of {words.size(size) if size is not None else 'unknown size'}"
    yield words.speed(here, fill.seconds)
    if size is not None and here and fill.seconds >= 1 and size > here:
        yield f"{words.span((size - here) * fill.seconds / here)} left"
    if fill.followers:
        yield words.counted(fill.followers, "client")
    yield words.short(fill.digest)


def upstreams(status: Status | Missing) -> Markup:
    """How each upstream does, those that fail first."""
    title = "Upstreams"
    if isinstance(status, Missing):
        return panel("upstreams", title, missing(status))
    ordered = sorted(status.upstreams, key=lambda one: (_FAILING_FIRST.index(one.state), one.name))
    failing = sum(one.state in ("down", "paused") for one in ordered)
    return panel(
        "upstreams",
        title,
        table(
            "How each upstream does",
            ("Upstream", "State", "Pulls left"),
            (row for one in ordered for row in _upstream(one, status.now)),
            words=2,
        ),
        beside=badge(f"{words.number(failing)} failing", "bad")
        if failing
        else badge("all well", "good"),
        data_many=len(ordered) > _FEW_UPSTREAMS,
    )


def _upstream(one: UpstreamStatus, now: float) -> Iterator[Markup]:
    word, sign = _STATES[one.state]
    heard = None if one.answered_at is None else f"last word {words.ago(one.answered_at, now)}"
    if one.state == "paused" and one.paused_until is not None:
        heard = f"asked again in {words.span(one.paused_until - now)}"
    yield element(
        "tr",
        element("th", element("span", path(one.name), class_="name"), scope="row"),
        element(
            "td",
            element(
                "span",
                element("span", sign, aria_hidden="true"),
                f" {word}",
                class_=f"state {one.state}",
            ),
            element("span", heard, class_="quiet") if heard else None,
        ),
        element("td", _pulls_left(one), class_="number"),
        data_key=one.name,
    )
    if one.error:
        why = element("td", one.error, colspan=3, class_="error")
        yield element("tr", why, class_="more", data_key=f"{one.name} error")


def _pulls_left(one: UpstreamStatus) -> list[Markup | str]:
    left, limit = one.ratelimit_remaining, one.ratelimit_limit
    if left is None:
        return [element("span", "not told", class_="quiet")]
    if not limit:
        return [words.number(left)]
    few = " few" if left * 10 < limit else ""
    return [
        element("span", f"{words.number(left)} of {words.number(limit)}"),
        bar(left / limit, "left" + few),
    ]


def disk(status: Status | Missing) -> Markup:
    """The budget, and how much of it is used."""
    title = "Disk budget"
    if isinstance(status, Missing):
        return panel("disk", title, missing(status))
    store, problem = status.store, status.store_problem
    used, unit = words.size_parts(store.bytes)
    share = words.share(store.bytes, store.max_bytes)
    return panel(
        "disk",
        title,
        element("p", f"Nothing is stored: {problem}", class_="error") if problem else None,
        element(
            "p",
            element("strong", used, class_="figure"),
            element("span", f" {unit} of {words.size(store.max_bytes)}", class_="unit"),
            class_="reading",
        ),
        bar(
            (store.bytes - store.reserved_bytes) / store.max_bytes if store.max_bytes else 1,
            "budget",
            store.bytes / store.max_bytes if store.max_bytes else 1,
        ),
        element("ul", (element("li", said) for said in _said_of_store(store)), class_="facts"),
        beside=badge("nothing is stored", "bad") if problem else badge(f"{share} used"),
    )


def _said_of_store(store: StoreStatus) -> Iterator[str]:
    yield words.counted(store.blobs, "blob")
    yield f"{words.size(store.reserved_bytes)} of it for downloads under way"
    yield f"{words.size(store.free_bytes)} free on the volume"
    short = store.max_bytes - store.bytes - store.free_bytes
    if short > 0:
        yield f"the volume ends {words.size(short)} before the budget does"


def replicas(status: Status | Missing) -> Markup:
    """The servers that are one cache."""
    title = "Replicas"
    if isinstance(status, Missing):
        return panel("replicas", title, missing(status))
    ordered = sorted(status.replicas, key=lambda one: (not one.is_self, one.address))
    listed = [
        element(
            "li",
            element("span", one.address, class_="name"),
            element("span", "this one", class_="badge") if one.is_self else None,
            data_key=one.address,
        )
        for one in ordered
    ]
    alone = element("p", "This server is a cache of its own.", class_="quiet")
    return panel(
        "replicas",
        title,
        element("ul", listed, class_="replicas") if listed else alone,
        element(
            "p",
            f"cacheproxy {status.version}, {words.counted(status.workers, 'worker')}, "
            f"up for {words.span(status.now - status.started_at)}",
            class_="quiet",
        ),
        beside=badge(words.number(len(listed))) if listed else None,
    )
