"""Where credentials may go, and where a redirect may lead.

Both are named by upstream, or by whoever sits in between; so neither is believed.
"""

import ipaddress
from functools import cache

from publicsuffixlist import PublicSuffixList
from yarl import URL


def realm_may_have_credentials(realm: URL, upstream: URL, allowed: frozenset[str]) -> bool:
    """Whether a token server may be sent the upstream's credentials (CVE-2026-33540).

    It must be the upstream's own host, share its registrable domain (`auth.docker.io` and
    `registry-1.docker.io`), or be allowed by name; and it must be https, unless the upstream
    itself is not.
    """
    host = (realm.host or "").lower()
    if not host or realm.user is not None or not _as_secure(realm, upstream):
        return False
    return host in allowed or _same_site(host, (upstream.host or "").lower())


def may_follow(location: URL, upstream: URL) -> bool:
    """Whether a redirect may be followed, without credentials.

    Never to something less secure, and never to an address literal that only this machine
    or its link can reach, unless the upstream is such an address itself.
    """
    host = (location.host or "").lower()
    if not host or location.scheme not in ("http", "https") or not _as_secure(location, upstream):
        return False
    upstream_host = (upstream.host or "").lower()
    return host == upstream_host or not _is_local(host) or _is_local(upstream_host)


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
        return None


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
