"""docs/outages.md, cell by cell: what a client gets while upstream does this or that."""

import json
import re
import shutil
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
import pytest_asyncio

from cacheproxy.domain.events import UpstreamAnswered
from cacheproxy.edge.errors import RULES
from cacheproxy.settings.upstream_model import BreakerSettings, TagSettings
from tests.integration.fills import until
from tests.support import images
from tests.support.hasty import HastyProxy, Located, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Fault,
    HangUp,
    Match,
    NoAnswer,
    ScriptedRegistry,
    StatusFault,
    Together,
    Trickle,
    WrongBytes,
    WrongDigestHeader,
)
from tests.support.seen import Seen, see
from tests.support.unreachable import black_hole, distrusted, nameless

_PAGE = Path(__file__).parents[2] / "docs/outages.md"
_REPOSITORY = "team/app"
_OLD, _NEW = images.simple(seed=61), images.simple(seed=62)
_LAYER = _OLD.layers[0]
_FRESH_FOR = 1000.0
_RETRY_AFTER = 7

_Way = Literal["registry", "down", "black hole", "nameless", "distrusted"]
_Kind = Literal["tag", "digest", "blob", "tags", "referrers"]
_Policy = Literal["keep", "drop"]

_PATHS: dict[_Kind, str] = {
    "tag": f"/v2/{_REPOSITORY}/manifests/1",
    "digest": f"/v2/{_REPOSITORY}/manifests/{_OLD.digest}",
    "blob": f"/v2/{_REPOSITORY}/blobs/{_LAYER.digest}",
    "tags": f"/v2/{_REPOSITORY}/tags/list",
    "referrers": f"/v2/{_REPOSITORY}/referrers/{_OLD.digest}",
}
_HEADINGS: dict[_Kind, str] = {
    "tag": "A tag",
    "digest": "A manifest by digest",
    "blob": "A blob",
    "tags": "A list of tags",
    "referrers": "A list of referrers",
}
_FRESH, _STALE, _PARTIAL, _COLD = (
    "cached, fresh",
    "cached, stale",
    "cached, stale, a layer is missing",
    "not cached",
)


# -- the rows --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outage:
    """What upstream does.

    Attributes:
        detail: what Cache-Status calls it where a stale tag is served; None: it never is.
        faults: that every request of a kind meets; the first kind that fits counts.
        way: how it can be reached, or not.
        upstream: settings of the proxy without which it would take long, or not happen.
        trips: it has to fail once before it is as the row says.
    """

    detail: str | None
    faults: tuple[tuple[Match, Fault], ...] = ()
    way: _Way = "registry"
    upstream: Mapping[str, Any] = field(default_factory=dict)
    trips: bool = False


def _says(status: int, detail: str | None, fault: Fault | None = None) -> _Outage:
    """Every request is answered like this, with fields that are for us alone."""
    fields = {"WWW-Authenticate": 'Basic realm="upstream"', "Retry-After": str(_RETRY_AFTER)}
    return _fails(fault or StatusFault(status, fields), detail)


def _fails(fault: Fault, detail: str | None, **upstream: Any) -> _Outage:
    return _Outage(detail, ((Match(), fault),), upstream=upstream)


_REST, _JITTER = 600.0, 1.25
_RESTS_AT_ONCE = BreakerSettings(failures=1, pause=_REST, longest_pause=_REST)
# The tag names another manifest by now, whose bytes are wrong; and so is all else that can be.
_WRONG_DIGEST = (
    (Match("GET", path_regex="/manifests/sha256:"), WrongBytes()),
    # In pieces, so that the head is out before the last one is in.
    (Match.blob(), Together(WrongBytes(), Trickle(chunk=1024, delay=0.01))),
    (Match("GET"), WrongDigestHeader()),
)

_ROWS = {
    "200": _Outage(None),
    "304, unasked": _says(304, "upstream-unavailable"),
    "401": _says(401, None),
    "403": _says(403, None),
    "404": _says(404, "manifest-unknown"),
    "408": _says(408, "upstream-timeout"),
    "another 4xx": _says(400, "upstream-refused"),
    "429": _says(429, "upstream-limited"),
    "5xx": _says(500, "upstream-unavailable"),
    "504": _says(504, "upstream-timeout"),
    "reset": _fails(HangUp(reset=True), "upstream-unavailable"),
    "refused": _Outage("upstream-unavailable", way="down"),
    "timeout": _fails(NoAnswer(), "upstream-timeout", answer_timeout=0.2),
    "black hole": _Outage("upstream-timeout", way="black hole", upstream={"connect_timeout": 0.2}),
    "DNS failure": _Outage("upstream-unavailable", way="nameless"),
    "TLS failure": _Outage("upstream-unavailable", way="distrusted"),
    "wrong digest": _Outage("digest-mismatch", _WRONG_DIGEST),
    "resting": _Outage(
        "upstream-resting",
        ((Match(), HangUp()),),
        upstream={"breaker": _RESTS_AT_ONCE},
        trips=True,
    ),
    "offline": _Outage("upstream-offline", upstream={"offline": True}),
}


@asynccontextmanager
async def _upstream(outage: _Outage, cleanly: AsyncExitStack) -> AsyncIterator[Located]:
    """What the proxy is to be in front of; its faults come later."""
    match outage.way:
        case "black hole":
            yield cleanly.enter_context(black_hole())
        case "nameless":
            yield cleanly.enter_context(nameless())
        case way:
            tls = distrusted() if way == "distrusted" else None
            async with ScriptedRegistry(tls=tls) as hub:
                _fill(hub)
                hub.add_image(_REPOSITORY, "1", _NEW)
                hub.add_image(_REPOSITORY, "2", _NEW)
                hub.add_image(_REPOSITORY, None, images.referrer(_OLD, "application/vnd.new"))
                if way == "down":
                    await hub.stop()
                yield hub


def _fill(hub: ScriptedRegistry) -> None:
    hub.add_image(_REPOSITORY, "1", _OLD)
    hub.add_image(_REPOSITORY, None, images.referrer(_OLD))


# -- the table -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    """A status, and a word for what is served; None: an error."""

    status: int
    word: str | None

    @classmethod
    def read(cls, text: str) -> "_Cell":
        """As it is written."""
        match = re.fullmatch(r"(\d{3})(?: (here|stale|fetched|empty|cut))?", text)
        assert match, f"no cell: {text}"
        return cls(int(match[1]), match[2])


@cache
def _table(kind: _Kind) -> dict[tuple[str, str], str]:
    """The page's table of a kind: the text of each cell by row and column."""
    page = _PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## {_HEADINGS[kind]}\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert section is not None, f"no section: {_HEADINGS[kind]}"
    lines = [line for line in section[1].splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert all(len(row) == len(head) for row in rows)
    return {
        (row[0], column): cell
        for row in rows
        for column, cell in zip(head[1:], row[1:], strict=True)
    }


def _cell(kind: _Kind, row: str, column: str, policy: _Policy) -> _Cell:
    """What the page says."""
    text = _table(kind).get((row, column))
    assert text, f"{_HEADINGS[kind]}: {row}: {column}: the page does not say"
    usual, _, dropped = text.removesuffix(")").partition(" (drop: ")
    return _Cell.read(dropped if dropped and policy == "drop" else usual)


def _columns(kind: _Kind) -> tuple[str, ...]:
    return (_FRESH, _STALE, _PARTIAL, _COLD) if kind == "tag" else (_FRESH, _STALE, _COLD)


def _policies(row: str) -> tuple[_Policy, ...]:
    return ("keep", "drop") if row == "404" else ("keep",)


@pytest.mark.parametrize("kind", _PATHS)
def test_the_page_has_these_cells_and_no_others(kind: _Kind) -> None:
    """Each table has each outage and each state of the cache, in the same order."""
    expected = [(row, column) for row in _ROWS for column in _columns(kind)]
    assert list(_table(kind)) == expected


def test_the_page_explains_its_words() -> None:
    """Each word of a cell is explained, and no other; so is each row that is no mere status."""
    text = _PAGE.read_text(encoding="utf-8")
    first = set(re.findall(r"^\| ([^|`]+) \|", text.partition("## A tag")[0], re.MULTILINE))
    cells = [cell for kind in _PATHS for cell in _table(kind).values()]
    words = {word for cell in cells for word in re.findall(r"\d{3} ([a-z]+)", cell)}
    rows = {row for row in _ROWS if not re.fullmatch("[34][0-9]{2}|504", row)}
    assert first - {"word", "row"} == words | rows


# -- what is cached --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Kept:
    """Caches that have been filled, to be copied.

    Attributes:
        whole: all of the old image, and the lists.
        partial: the same without a layer.
        bodies: of what is in them.
    """

    whole: Path
    partial: Path
    bodies: Mapping[_Kind, bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> _Kept:
    """The caches of two proxies that have pulled while upstream was well."""
    whole, partial = (tmp_path_factory.mktemp(name) for name in ("whole", "partial"))
    bodies = await _pull(whole, _OLD.all_blobs)
    await _pull(partial, _OLD.all_blobs.keys() - {_OLD.layers[1].digest})
    return _Kept(whole, partial, bodies)


async def _pull(directory: Path, blobs: Collection[str]) -> dict[_Kind, bytes]:
    """Pull everything once, but only these blobs; the bodies that came."""
    async with ScriptedRegistry() as hub:
        _fill(hub)
        async with hasty_proxy({"docker.io": hub}, directory) as proxy:
            bodies = {kind: (await see(proxy, path)).body for kind, path in _PATHS.items()}
            for digest in blobs:
                await see(proxy, f"/v2/{_REPOSITORY}/blobs/{digest}")
            await until(lambda: len(proxy.files("blobs")) == len(blobs) + 1)
    return bodies


def _put(kept: _Kept, column: str, directory: Path) -> None:
    if column != _COLD:
        shutil.copytree(kept.partial if column == _PARTIAL else kept.whole, directory)


# -- the cells -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a request.

    Attributes:
        seen: what the client got; None: it was cut.
        requests: what it cost upstream.
        now: what upstream itself has, before anything is wrong with it.
    """

    seen: Seen | None
    requests: int
    now: bytes


async def _ask(proxy: HastyProxy, path: str, now: bytes) -> _Outcome:
    before = len(proxy.events.of(UpstreamAnswered))
    try:
        seen: Seen | None = await see(proxy, path)
    except aiohttp.ClientPayloadError:
        seen = None
    return _Outcome(seen, len(proxy.events.of(UpstreamAnswered)) - before, now)


async def _now(upstream: Located, proxy: HastyProxy, path: str) -> bytes:
    """What upstream itself has."""
    accept = {"Accept": f"{images.OCI_MANIFEST}, {images.OCI_INDEX}"}
    async with proxy.client.get(upstream.url + path, headers=accept) as response:
        assert response.status == 200
        return await response.read()


def _check_error(seen: Seen, outage: _Outage) -> None:
    """It is one of ours, with its own code, and says when to come back where that is known."""
    assert (seen.status, seen.code) in {(rule.status, rule.code) for rule in RULES.values()}
    assert seen.cache == {"detail": seen.code}
    wait = seen.headers.get("Retry-After")
    if outage.trips:
        assert wait is not None
        assert 1 <= int(wait) <= _REST * _JITTER
    else:
        assert wait == (str(_RETRY_AFTER) if seen.status == 429 else None)


def _check_here(seen: Seen, body: bytes) -> None:
    """It is what is cached, and nothing is said against it."""
    assert seen.body == body
    assert seen.cache["hit"] is True
    left = seen.cache.get("ttl", 1)
    assert isinstance(left, int)
    assert left > 0
    assert "detail" not in seen.cache


def _check_stale(seen: Seen, body: bytes, detail: str | None) -> None:
    """It is what is cached, and said to be stale, and of a tag why."""
    assert seen.body == body
    assert seen.cache["hit"] is True
    left = seen.cache["ttl"]
    assert isinstance(left, int)
    assert left < 0
    assert seen.cache.get("detail") == detail


@asynccontextmanager
async def _asked(
    outage: _Outage, path: str, age: float, directory: Path, policy: _Policy
) -> AsyncIterator[_Outcome]:
    """What a client of a proxy gets that was started in front of it, after so many seconds."""
    tags = TagSettings(fresh_for=_FRESH_FOR, on_not_found=policy)
    wanted = Wanted(upstream={"tags": tags, **outage.upstream})
    async with (
        AsyncExitStack() as cleanly,
        _upstream(outage, cleanly) as upstream,
        hasty_proxy({"docker.io": upstream}, directory, wanted) as proxy,
    ):
        now = await _now(upstream, proxy, path) if outage.way == "registry" else b""
        if isinstance(upstream, ScriptedRegistry):
            for match, fault in outage.faults:
                upstream.script(match, Always(fault))
        proxy.clock.advance(age)
        if outage.trips:
            assert (await see(proxy, "/v2/team/other/manifests/1")).status == 502
        yield await _ask(proxy, path, now)


_CELLS = [
    pytest.param(kind, row, column, policy, id=f"{kind}: {row}: {column}: {policy}")
    for kind in _PATHS
    for row in _ROWS
    for column in _columns(kind)
    for policy in _policies(row)
]


@pytest.mark.parametrize(("kind", "row", "column", "policy"), _CELLS)
async def test_cell(
    kind: _Kind, row: str, column: str, policy: _Policy, kept: _Kept, tmp_path: Path
) -> None:
    """A client gets what the cell says: status, bytes, Cache-Status, and no word of upstream's."""
    cell, outage, body = _cell(kind, row, column, policy), _ROWS[row], kept.bodies[kind]
    _put(kept, column, tmp_path / "cache")
    age = 0.0 if column in (_FRESH, _COLD) else _FRESH_FOR + 1
    async with _asked(outage, _PATHS[kind], age, tmp_path / "cache", policy) as outcome:
        seen = outcome.seen
    if seen is None:
        assert cell.word == "cut"
        assert not [path for path in (tmp_path / "cache/blobs").rglob("*") if path.is_file()]
        return
    assert seen.status == cell.status
    match cell.word:
        case "here":
            _check_here(seen, body)
            assert outcome.requests == 0
        case "stale":
            _check_stale(seen, body, outage.detail if kind == "tag" else None)
        case "fetched":
            assert seen.body == outcome.now
            assert seen.cache["fwd"] == "miss"
            assert outcome.requests > 0
        case "empty":
            assert json.loads(seen.body)["manifests"] == []
        case word:
            assert word is None
            _check_error(seen, outage)
            assert body not in seen.body
