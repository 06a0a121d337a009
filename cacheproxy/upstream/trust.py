"""Where credentials may go, and where a redirect may lead.

Both are named by upstream, or by whoever sits in between; so neither is believed.
"""

import ipaddress
import socket
from functools import cache

from publicsuffixlist import PublicSuffixList
from yarl import URL


def realm_may_have_credentials(realm: URL, upstream: URL, allowed: frozenset[str]) -> bool:
    """Whether a token server may be sent the upstream's credentials (CVE-2026-33540).

    It must be the upstream's own host, share its registrable domain (`auth.docker.io` and
    `registry-1.docker.io`), or be allowed by name; and it must be https, unless the upstream
    itself is not.
    """
    host = _host(realm)
    if not host or not _is_plain(realm) or not _as_secure(realm, upstream):
        return False
    return _is_named(realm, allowed) or _same_site(host, _host(upstream))


def may_follow(location: URL, upstream: URL, allowed: frozenset[str] = frozenset()) -> bool:
    """Whether a redirect may be followed, without credentials.

    Args:
        location: where it leads.
        upstream: who sends there.
        allowed: hosts that the operator has named, wherever they are.

    Never to something less secure, and never to an address literal that only this machine
    or its link can reach, unless the upstream is such an address itself.
    """
    host, upstream_host = _host(location), _host(upstream)
    if not host or not _is_plain(location) or not _as_secure(location, upstream):
        return False
    known = host == upstream_host or _is_named(location, allowed)
    return known or not _is_local(host) or _is_local(upstream_host)


def may_keep_login(location: URL, sender: URL) -> bool:
    """Return whether a token server's redirect may be followed with the login.

    It must lead to the same origin, or from http to https on the same host at the default ports.
    """
    if _host(location) != _host(sender):
        return False
    there, here = (location.scheme, location.port), (sender.scheme, sender.port)
    return there == here or (here, there) == (("http", 80), ("https", 443))


def _host(url: URL) -> str:
    """The host as resolvers compare it; none where that is for a resolver to find out.

    `127\u30020\u30020\u30021` is an address to a resolver, once its dots are mapped to ASCII.
    """
    host = (url.host or "").lower().rstrip(".")
    return host if host.isascii() and host.isprintable() else ""


def _is_named(url: URL, allowed: frozenset[str]) -> bool:
    """Return whether the operator has named a URL's host, with this port or for all ports."""
    host = _host(url)
    written = f"[{host}]" if ":" in host else host
    return not allowed.isdisjoint({host, written, f"{written}:{url.port}"})


def _is_plain(url: URL) -> bool:
    """Nothing but a place to go to."""
    return url.user is None and url.password is None and not url.fragment


def _as_secure(url: URL, upstream: URL) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and upstream.scheme == "http")


def _same_site(host: str, other: str) -> bool:
    if host == other:
        return True
    if _address(host) is not None or _address(other) is not None:
        return False
    domain = _suffixes().privatesuffix(host)
    return domain is not None and domain == _suffixes().privatesuffix(other)


def _is_local(host: str) -> bool:
    address = _address(host)
    if address is None:
        return host == "localhost" or host.endswith((".localhost", ".internal"))
    return not address.is_global


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        # What resolvers take for an address too: 127.1, 2130706433, 0x7f.1.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
