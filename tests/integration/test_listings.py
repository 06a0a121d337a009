"""Tags: passed on as upstream lists them, page by page, and kept for a while."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from tests.support import images
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.scripted_registry import (
    Always,
    Fault,
    Gate,
    HangUp,
    Match,
    OneMoreHeader,
    ScriptedRegistry,
    StatusFault,
    Together,
    WithHeader,
)
from tests.support.seen import Seen, see

_REPOSITORY = "team/app"
_TAGS = ["1.0", "1.1", "latest", "sha256-0.sig", "v2"]
_TAGS_LIST = f"/v2/{_REPOSITORY}/tags/list"
_JSON = {"Content-Type": "application/json"}
_SUBJECT = images.simple(seed=111)
# Each way to address the same upstream: its listings go on in the same way.
_FORMS = [
    pytest.param(_TAGS_LIST, "", id="default"),
    pytest.param(_TAGS_LIST, "ns=docker.io", id="ns"),
    pytest.param(f"/v2/docker.io/{_REPOSITORY}/tags/list", "", id="component"),
    pytest.param(f"/docker.io{_TAGS_LIST}", "", id="prefix"),
    pytest.param(f"/docker.io{_TAGS_LIST}", "ns=docker.io", id="prefix and ns"),
]


@pytest.fixture
async def proxy(hub: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[HastyProxy]:
    """In front of a registry with some tags."""
    for tag in _TAGS:
        hub.add_image(_REPOSITORY, tag, _SUBJECT)
    wanted = Wanted(tags={"fresh_for": 100.0, "stale_if_error": 1000.0})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as running:
        yield running


def _next(answer: Seen) -> str | None:
    """The target of the next page's link."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
    assert found is not None
    return found[1]


def _tags(answer: Seen) -> list[str]:
    assert answer.headers["Content-Type"] == "application/json"
    listed: list[str] = json.loads(answer.body)["tags"]
    return listed


async def test_all(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """The list is upstream's own, byte for byte."""
    answer = await see(proxy, _TAGS_LIST)
    assert _tags(answer) == _TAGS
    async with proxy.client.get(hub.url + _TAGS_LIST) as response:
        assert answer.body == await response.read()
    assert "Link" not in answer.headers
    assert answer.cache == {"fwd": "miss", "fwd-status": 200, "stored": True}


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ("n=2", _TAGS[:2]),
        ("last=1.1", _TAGS[2:]),
        ("last=1.05", _TAGS[1:]),
        ("n=2&last=1.1", _TAGS[2:4]),
        ("n=0", []),
        ("n=100", _TAGS),
        ("last=zzz", []),
        ("n=2&n=3", _TAGS[:2]),
    ],
)
async def test_queries(proxy: HastyProxy, query: str, tags: list[str]) -> None:
    """`n` and `last` are upstream's to understand."""
    assert _tags(await see(proxy, f"{_TAGS_LIST}?{query}")) == tags


@pytest.mark.parametrize(("path", "ns"), _FORMS)
async def test_pages(proxy: HastyProxy, path: str, ns: str) -> None:
    """Links lead through all pages by way of the proxy, in the form that it was asked in."""
    target: str | None = f"{path}?n=2&{ns}".rstrip("&")
    found: list[str] = []
    while target is not None:
        answer = await see(proxy, target)
        found += _tags(answer)
        target = _next(answer)
        if target is not None:
            url = URL(target, encoded=True)
            assert (url.raw_path, url.host) == (path, None)
            assert url.query.getall("ns", []) == ([ns[3:]] if ns else [])
    assert found == _TAGS


@pytest.mark.parametrize(
    "cursor",
    [
        "next_page=gAAAAABl%2Bx%2F%3D%3D",
        "last=eyJhIjoiYi9jIn0%3d&n=5",
        "last=a%26b%3Dc&n=1",
        "n=5&last=%E2%82%AC",
    ],
)
async def test_opaque_cursors(hub: ScriptedRegistry, proxy: HastyProxy, cursor: str) -> None:
    """A cursor is upstream's secret: it comes to the client, and back, as it was written."""
    link = f'<{_TAGS_LIST}?{cursor}>; rel="next"'
    hub.script(Match.manifest(), Always(StatusFault(404)))
    hub.script(Match(), Together(WithHeader("Link", link)))
    answer = await see(proxy, f"{_TAGS_LIST}?n=5")
    assert _next(answer) == f"{_TAGS_LIST}?{cursor}"
    await see(proxy, f"{_TAGS_LIST}?{cursor}")
    expected = URL.build(path="/", query_string=cursor, encoded=True).query
    assert hub.requests()[-1].query == expected


@pytest.mark.parametrize(
    ("link", "target"),
    [
        pytest.param("<?n=1&last=a>; rel=next", "?n=1&last=a", id="query only"),
        pytest.param('<list?n=1&last=a>; rel="next"', "?n=1&last=a", id="relative"),
        pytest.param('<{url}/v2/team/app/tags/list?last=a>; rel="next"', "?last=a", id="absolute"),
        pytest.param('<?last=a>; title="a, b"; rel="prev next"', "?last=a", id="commas, relations"),
        pytest.param('<?last=a>; foo=bar; rel="next"', "?last=a", id="more parameters"),
        pytest.param('<?last=p>; rel="prev", <?last=a>; rel="next"', "?last=a", id="two"),
        pytest.param('<?last=a>; rel="prev"', None, id="previous"),
        pytest.param("nonsense", None, id="nonsense"),
        pytest.param("", None, id="empty"),
    ],
)
async def test_links(
    hub: ScriptedRegistry, proxy: HastyProxy, link: str, target: str | None
) -> None:
    """Links are read as registries write them; only the next page's is passed on."""
    hub.script(Match(), WithHeader("Link", link.format(url=hub.url)))
    answer = await see(proxy, _TAGS_LIST)
    assert _next(answer) == (None if target is None else _TAGS_LIST + target)


async def test_several_fields(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """The next page may be linked in any of several fields."""
    links = ('<?last=p>; rel="prev"', '<?last=a>; rel="next"')
    hub.script(Match(), Together(*(OneMoreHeader("Link", link) for link in links)))
    assert _next(await see(proxy, _TAGS_LIST)) == f"{_TAGS_LIST}?last=a"


@pytest.mark.parametrize(
    "base",
    [
        "https://127.0.0.1/v2/team/app",
        "http://registry-api:8080/v2/team/app",
        "https://evil.example/v2/team/app",
        "http://registry.example/repository/hub/v2/team/app",
        "/v2/app",
    ],
)
async def test_links_to_itself(hub: ScriptedRegistry, proxy: HastyProxy, base: str) -> None:
    """A list goes on at upstream itself, by whichever scheme, host or path upstream names it."""
    hub.script(Match(), WithHeader("Link", f'<{base}/tags/list?n=2&last=1.1>; rel="next"'))
    answer = await see(proxy, f"{_TAGS_LIST}?n=2")
    assert _next(answer) == f"{_TAGS_LIST}?n=2&last=1.1"
    assert _tags(await see(proxy, f"{_TAGS_LIST}?n=2&last=1.1")) == _TAGS[2:4]


@pytest.mark.parametrize(
    "link",
    [
        "<https://evil.example/v2/other/tags/list?last=a>",
        "<//evil.example/v2/?last=a>",
        "<http://169.254.169.254/latest/?last=a>",
        "<ftp://evil.example/>",
        "</v2/team/app/tags/list?page=2>",
    ],
)
async def test_foreign_links(hub: ScriptedRegistry, proxy: HastyProxy, link: str) -> None:
    """A list that goes on elsewhere is refused: its first page must not pass for the whole."""
    hub.script(Match(), WithHeader("Link", f'{link}; rel="next"'))
    answer = await see(proxy, _TAGS_LIST)
    assert (answer.status, answer.code) == (502, "UNAVAILABLE")
    assert b"evil" not in answer.body


async def test_other_parameters(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A parameter that lists do not have is not sent to upstream, and makes no page of its own."""
    for query in ("?n=2", "?n=2&_=1700000000", "?token=secret&n=2"):
        assert _tags(await see(proxy, _TAGS_LIST + query)) == _TAGS[:2]
    (request,) = hub.requests()
    assert dict(request.query) == {"n": "2"}


_NO_LISTS = {
    "login page": StatusFault(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"),
    "typed as a page": StatusFault(200, {"Content-Type": "text/html"}, b'{"name":"x","tags":[]}'),
    "another shape": StatusFault(200, _JSON, b'{"access_token":"secret"}'),
    "no texts": StatusFault(200, _JSON, b'{"name":"x","tags":[{"secret":1}]}'),
    "too deep": StatusFault(200, _JSON, b'{"tags":[],"x":' + b"[" * 40 + b"]" * 40 + b"}"),
    "no end": StatusFault(200, _JSON, b'{"tags":[],"x":' + b"[" * 100_000),
    "no JSON": StatusFault(200, _JSON, b"secret"),
}


@pytest.mark.parametrize("fault", _NO_LISTS.values(), ids=_NO_LISTS)
async def test_no_list(hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault) -> None:
    """What is no page of tags is neither passed on nor kept; a page that is kept stands in."""
    hub.script(Match(), fault)
    answer = await see(proxy, _TAGS_LIST)
    assert answer.status == 502
    assert b"secret" not in answer.body
    assert _tags(await see(proxy, _TAGS_LIST)) == _TAGS
    hub.script(Match(), fault)
    proxy.clock.advance(101)
    assert _tags(await see(proxy, _TAGS_LIST)) == _TAGS


@pytest.mark.parametrize("body", [b'{"access_token":"secret"}', b"secret\n", b"[1]"])
async def test_a_redirect_inside(hub: ScriptedRegistry, proxy: HastyProxy, body: bytes) -> None:
    """A list that is redirected to another service never returns what that service says."""
    async with ScriptedRegistry() as inside:
        inside.script(Match(), Always(StatusFault(200, _JSON, body)))
        hub.script(Match(), Always(StatusFault(307, {"Location": f"{inside.url}/token"})))
        answer = await see(proxy, _TAGS_LIST)
        assert inside.requests()
    assert answer.status == 502
    assert b"secret" not in answer.body


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", None])
async def test_types(hub: ScriptedRegistry, proxy: HastyProxy, content_type: str | None) -> None:
    """A page is one by its shape, under each type by which registries send JSON."""
    hub.script(Match(), WithHeader("Content-Type", content_type))
    assert _tags(await see(proxy, _TAGS_LIST)) == _TAGS


async def test_no_tags(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A list that upstream writes as null is passed on as it is."""
    hub.script(Match(), StatusFault(200, _JSON, b'{"name":"team/app","tags":null}'))
    assert json.loads((await see(proxy, _TAGS_LIST)).body)["tags"] is None


async def test_kept(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A page is kept for as long as a tag is, and each query has a page of its own."""
    for query in ("", "?n=2", "?n=2&last=1.1"):
        first = await see(proxy, _TAGS_LIST + query)
        second = await see(proxy, _TAGS_LIST + query)
        assert second.stable == first.stable
        assert second.body == first.body
        assert set(second.cache) == {"hit", "ttl"}
    assert len(hub.requests()) == 3
    hub.add_image(_REPOSITORY, "new", _SUBJECT)
    assert "new" not in _tags(await see(proxy, _TAGS_LIST))
    proxy.clock.advance(101)
    assert "new" in _tags(await see(proxy, _TAGS_LIST))


async def test_all_forms_are_one_page(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """However the upstream is named, it is asked once."""
    for target in (
        _TAGS_LIST,
        f"{_TAGS_LIST}?ns=docker.io",
        f"/docker.io{_TAGS_LIST}",
        f"/v2/docker.io/{_REPOSITORY}/tags/list",
    ):
        assert _tags(await see(proxy, target)) == _TAGS
    assert len(hub.requests()) == 1


async def test_for_many(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """Those who ask at once share one request to upstream."""
    gate = Gate(at=None)
    hub.script(Match(), gate)
    asking = asyncio.gather(*(see(proxy, _TAGS_LIST) for _ in range(30)))
    await gate.reached()
    await asyncio.sleep(0.05)  # for most of them to have asked
    assert len(hub.requests()) == 1
    gate.release()
    answers = await asking
    assert {answer.body for answer in answers} == {answers[0].body}
    assert len(hub.requests()) == 1
    assert [answer for answer in answers if "collapsed" in answer.cache]


@pytest.mark.parametrize("fault", [StatusFault(429), StatusFault(503), HangUp()])
async def test_stale(hub: ScriptedRegistry, proxy: HastyProxy, fault: Fault) -> None:
    """While upstream fails, an old page is served; beyond the limit it is not."""
    await see(proxy, _TAGS_LIST)
    hub.script(Match(), Always(fault))
    proxy.clock.advance(1000)
    answer = await see(proxy, _TAGS_LIST)
    assert _tags(answer) == _TAGS
    ttl = answer.cache["ttl"]
    assert isinstance(ttl, int)
    assert ttl < 0
    proxy.clock.advance(101)
    assert (await see(proxy, _TAGS_LIST)).status in (429, 502)


async def test_refused(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """What we may no longer list is not listed."""
    await see(proxy, _TAGS_LIST)
    hub.script(Match(), Always(StatusFault(403)))
    proxy.clock.advance(101)
    assert (await see(proxy, _TAGS_LIST)).status == 403


async def test_unknown_repository(proxy: HastyProxy) -> None:
    """The tags of a repository that upstream does not have are a 404."""
    answer = await see(proxy, "/v2/team/absent/tags/list")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


async def test_too_large(hub: ScriptedRegistry, proxy: HastyProxy) -> None:
    """A page without end is cut off."""
    hub.script(Match(), StatusFault(200, body=b" " * (9 * 1024 * 1024)))
    assert (await see(proxy, _TAGS_LIST)).status == 502
