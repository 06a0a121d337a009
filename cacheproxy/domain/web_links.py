"""Web links (RFC 8288), as far as the pages of a list need them."""

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urljoin, urlsplit

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.domain.operation import LIST_PARAMETERS

# A target in angle brackets, and its parameters up to a comma that stands in no quotes.
_LINK = re.compile(r'<([^<>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*")*)')
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')


def next_query(fields: Iterable[str], base: str, path: str) -> str | None:
    """Return the query of a list's next page, as upstream wrote it; None on the last page.

    Registries name themselves as they know themselves: by http behind TLS, by an inner host,
    with a path in front. So nothing of a link counts but its query, and that only if its path
    is the list's.

    Args:
        fields: the values of the Link fields, each of which may hold several links.
        base: the URL that answered, which relative links are relative to.
        path: where the list was asked for.

    Raises:
        UpstreamUnavailable: the list goes on at a path that is not its own, or by none of the
            parameters that are passed on. A part of a list must not pass for the whole.
    """
    targets = [target for target, relations in _links(fields) if "next" in relations]
    for target in targets:
        url = urlsplit(urljoin(base, target))
        query = _passed_on(url.query)
        if query and _is_same_list(url.path, path):
            return query
    if targets:
        raise UpstreamUnavailable("upstream's list goes on where it cannot be followed")
    return None


def _links(fields: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the target and the relations of each link."""
    for field in fields:
        for target, parameters in _LINK.findall(field):
            named = (
                (name.lower(), quoted or plain)
                for name, quoted, plain in _PARAMETER.findall(parameters)
            )
            # RFC 8288 §3.3: of several `rel` parameters the first one counts.
            relations = next((value for name, value in named if name == "rel"), "")
            yield target, relations.lower().split()


def _passed_on(query: str) -> str:
    """Return what of a query can be sent back to upstream; empty if it cannot be a field's part."""
    if not (query.isascii() and query.isprintable()):
        return ""
    pieces = query.split("&")
    return "&".join(
        piece for piece in pieces if unquote(piece.partition("=")[0]) in LIST_PARAMETERS
    )


def _is_same_list(path: str, asked: str) -> bool:
    """Whether two paths name one list, whatever stands in front of its repository's name."""
    one, other = _list_path(path), _list_path(asked)
    return one.endswith(other) or other.endswith(one)


def _list_path(path: str) -> str:
    return "/" + unquote(path).rpartition("/v2/")[2]
