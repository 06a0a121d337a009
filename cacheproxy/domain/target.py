"""The request target (RFC 9112 §3.2), taken apart without knowing which upstreams there are.

Four addressings are one here, told apart only by what they say of the upstream:

    /v2/library/nginx/manifests/1?ns=docker.io      containerd: `ns` names it
    /v2/docker.io/library/nginx/manifests/1         podman, skopeo, helm: the first component
    /docker.io/v2/library/nginx/manifests/1         a mirror URL that has a path
    /v2/library/nginx/manifests/1                   Docker's registry-mirrors: nothing does

`cacheproxy.domain.routing` turns a target into an operation on a configured upstream.
"""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from cacheproxy.domain.errors import NameInvalid, NotAnEndpoint, UpstreamAmbiguous
from cacheproxy.domain.operation import LIST_PARAMETERS, Query

Endpoint = Literal["ping", "manifest", "blob", "tags", "referrers"]

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
# What may stand in a path: the characters of names, tags, digests and hosts (`[::1]:5000`).
_PATH = re.compile(r"[A-Za-z0-9._:=+@/\[\]-]*")
_QUERY_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Target:
    """A request target of the pull API.

    Attributes:
        endpoint: which one.
        prefix: the path component before `/v2`, if any.
        ns: the `ns` query parameter, if any.
        name: everything between `/v2/` and the endpoint's words; may begin with a host.
        reference: tag or digest, as it was written; empty where the endpoint has none.
        query: the query parameters that lists have (`LIST_PARAMETERS`), in order.
    """

    endpoint: Endpoint
    prefix: str | None = None
    ns: str | None = None
    name: str = ""
    reference: str = ""
    query: Query = ()


def parse(raw: str) -> Target:
    """Read a raw request target (the path still percent-encoded). Total: returns or raises.

    Raises:
        NotAnEndpoint: the path is none of the pull API's.
        NameInvalid: the path has characters that no name, tag or digest has.
        UpstreamAmbiguous: `ns` is given more than once.
    """
    path, _, query = raw.partition("?")
    prefix, segments = _after_v2(_decoded(path))
    ns, rest = _query(query)
    if segments in ([], [""]):
        return Target("ping", prefix, ns, query=rest)
    endpoint, name, reference = _endpoint(segments)
    return Target(endpoint, prefix, ns, "/".join(name), reference, rest)


def _decoded(path: str) -> str:
    """Undo percent-encoding, once, and only of what may then stand in a path.

    `%2f`, `%00`, `%25` and bytes beyond ASCII therefore never become part of a name.
    """

    def character(match: re.Match[str]) -> str:
        decoded = chr(int(match[1], 16))
        return decoded if decoded != "/" and _PATH.fullmatch(decoded) else match[0]

    decoded = _ESCAPE.sub(character, path)
    if _PATH.fullmatch(decoded) is None:
        raise NameInvalid("the path has a character that no name, tag or digest has")
    return decoded


def _after_v2(path: str) -> tuple[str | None, list[str]]:
    parts = path.split("/")
    match parts:
        case ["", "v2", *segments]:
            return None, segments
        case ["", prefix, "v2", *segments] if prefix:
            return prefix, segments
        case _:
            raise NotAnEndpoint("the API is below /v2/")


def _endpoint(segments: list[str]) -> tuple[Endpoint, list[str], str]:
    """Match from the right: words such as `blobs` are legal in a name."""
    match segments:
        case [*name, "manifests", reference] if name and reference:
            return "manifest", name, reference
        case [*name, "blobs", reference] if name and reference:
            return "blob", name, reference
        case [*name, "tags", "list"] if name:
            return "tags", name, ""
        case [*name, "referrers", reference] if name and reference:
            return "referrers", name, reference
        case _:
            raise NotAnEndpoint("there is no such endpoint in the pull API")


def _query(query: str) -> tuple[str | None, Query]:
    if len(query) > _QUERY_LIMIT:
        raise NotAnEndpoint(f"the query is longer than {_QUERY_LIMIT} characters")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [value for key, value in pairs if key == "ns"]
    if len(names) > 1:
        raise UpstreamAmbiguous("`ns` is given more than once")
    passed_on = tuple(pair for pair in pairs if pair[0] in LIST_PARAMETERS)
    return (names[0] if names else None), passed_on
