"""A script gives each request the fault that it is for, and no other."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict, MultiDictProxy

from tests.support.scripted_registry import (
    Always,
    CloseAfter,
    Fault,
    Match,
    ResetAfter,
    ScriptedRegistry,
    ShortBody,
    StallAfter,
    StatusFault,
    Together,
    Well,
    WrongBytes,
    WrongContentRange,
    WrongContentType,
)
from tests.support.scripted_registry.answer import Asked
from tests.support.scripted_registry.script import Script
from tests.unit.support.conftest import Upstream
from tests.unit.support.raw_client import fetched

_BLOB = "/v2/a/blobs/sha256:0"


def _asked(path: str = _BLOB, method: str = "GET", **headers: str) -> Asked:
    kept = CIMultiDictProxy(CIMultiDict(headers))
    return Asked(method, path, "", MultiDictProxy(MultiDict()), kept)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(), True),
        (Match("GET"), True),
        (Match("HEAD"), False),
        (Match(path_suffix="sha256:0"), True),
        (Match(path_suffix="sha256:1"), False),
        (Match(path_regex="^/v2/a/"), True),
        (Match(path_regex="^/v2/b/"), False),
        (Match(ranged=False), True),
        (Match(ranged=True), False),
        (Match.blob(), True),
        (Match.blob("sha256:0"), True),
        (Match.blob("sha256:1"), False),
        (Match.manifest(), False),
    ],
)
def test_match(match: Match, fits: bool) -> None:
    """A match fits the requests that it describes."""
    assert match.fits(_asked()) is fits


def test_match_of_a_manifest() -> None:
    """A match of one manifest fits that tag and no tag that begins like it."""
    match = Match.manifest("1.2")
    paths = ["/v2/a/manifests/1.2", "/v2/a/manifests/1.20", "/v2/a/manifests/102"]
    assert [match.fits(_asked(path)) for path in paths] == [True, False, False]


def test_faults_in_turn() -> None:
    """Each matching request consumes one fault; then all is well."""
    script = Script()
    script.add(Match.blob(), CloseAfter(1), Well(), ResetAfter(2))
    met: list[Fault] = [script.next(_asked()) for _ in range(4)]
    assert met == [CloseAfter(1), Well(), ResetAfter(2), Well()]


def test_others_consume_nothing() -> None:
    """A request that does not match leaves the fault to those that do."""
    script = Script()
    script.add(Match("HEAD"), CloseAfter(1))
    assert script.next(_asked()) == Well()
    assert script.next(_asked(method="HEAD")) == CloseAfter(1)


def test_nth() -> None:
    """The faults begin with the nth matching request, whichever line the others met."""
    script = Script()
    script.add(Match(nth=1), ShortBody())
    script.add(Match.blob(nth=3), CloseAfter(1), CloseAfter(2))
    met: list[Fault] = [script.next(_asked()) for _ in range(5)]
    assert met == [ShortBody(), Well(), CloseAfter(1), CloseAfter(2), Well()]


def test_always() -> None:
    """A fault for always comes after those before it, and stays."""
    script = Script()
    script.add(Match(), CloseAfter(1), Always(ResetAfter(2)))
    met: list[Fault] = [script.next(_asked()) for _ in range(3)]
    assert met == [CloseAfter(1), Always(ResetAfter(2)), Always(ResetAfter(2))]


def test_unspent() -> None:
    """Faults that nobody met are told of; one for always is met once it was met."""
    script = Script()
    script.add(Match("GET"), CloseAfter(1), Always(ResetAfter(2)))
    assert script.unspent == [CloseAfter(1), Always(ResetAfter(2))]
    script.next(_asked())
    assert script.unspent == [Always(ResetAfter(2))]
    script.next(_asked())
    assert script.unspent == []


async def test_together(upstream: Upstream) -> None:
    """Faults together all happen to one answer."""
    together = Together(WrongContentType("text/html"), WrongBytes(), CloseAfter(2))
    upstream.registry.script(Match(), together)
    heard = await fetched(upstream.url)
    assert heard.header("Content-Type") == "text/html"
    assert (heard.body, heard.end) == (bytes([upstream.body[0] ^ 0xFF, upstream.body[1]]), "fin")


async def test_together_in_the_order_of_bytes(upstream: Upstream) -> None:
    """Faults at several bytes happen where they are, in whichever order they are given."""
    upstream.registry.script(Match(), Together(CloseAfter(500), StallAfter(300, 9.0)))
    assert (await fetched(upstream.url)).body == upstream.body[:500]
    assert upstream.naps == [9.0]


async def test_assert_spent(upstream: Upstream) -> None:
    """A test can insist that all faults were met, the CDN host's included."""
    upstream.registry.assert_spent()
    upstream.registry.cdn.script(Match(), StatusFault(500))
    with pytest.raises(AssertionError, match=r"never met: .*cdn.*StatusFault"):
        upstream.registry.assert_spent()


@pytest.mark.parametrize(
    "fault",
    [
        CloseAfter(8),
        WrongBytes(7),
        ShortBody(8),
        WrongContentRange(),
        Always(ResetAfter(-1)),
    ],
)
async def test_a_fault_that_cannot_happen(fault: Fault) -> None:
    """A fault that cannot happen to its answer fails the test that scripted it."""

    async def misuse() -> None:
        async with ScriptedRegistry() as registry:
            digest = registry.add_blob("a", b"content")
            registry.script(Match(), fault)
            assert (await fetched(f"{registry.url}/v2/a/blobs/{digest}")).status == 500

    with pytest.raises(AssertionError, match="GET /v2/a/blobs/sha256"):
        await misuse()


async def test_the_first_error_is_shown() -> None:
    """A test that fails otherwise shows its own error, not the script's."""

    async def misuse() -> None:
        async with ScriptedRegistry() as registry:
            registry.script(Match(), CloseAfter(10**6))
            await fetched(registry.url + "/v2/")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await misuse()
