"""Where to listen, and what to dial: addresses, registry names, URLs."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from cacheproxy.domain.routing import canonical_host, looks_like_host
from cacheproxy.settings.problems import quoted
from cacheproxy.settings.secret import HIDDEN

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_HOST_AND_PORT = re.compile(
    rf"(?:\[([0-9a-f:.]{{2,45}})\]|{_HOST.pattern})(?::([0-9]{{1,5}}))?", re.IGNORECASE
)
_LISTEN = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,5})")
_NUMERIC = re.compile(r"[0-9.]+")
_HOST_LIMIT = 255
# Of a registry's URL. Without percent signs and dots alone, it is sent as it is written.
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:-]+)*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        host: a name, an IPv4 or an IPv6 address (without brackets); empty: every interface.
        port: 0 lets the system choose one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, `[::1]:5000` or `:5000`.

        Raises:
            ValueError: it is none of them; the message says what to write.
        """
        match = _LISTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{quoted(text)} is not an address; {_hint(text)}")
        six, host, port = match.groups()
        if six is not None:
            _check_six(six)
        elif host and not _is_host(host):
            raise ValueError(f"{quoted(host)} is neither a host nor an IP address")
        return cls(six or host, _port(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_registry(text: str) -> str:
    """Read the name of a registry, as it stands in image references; return it canonical.

    Raises:
        ValueError: it is none; a first component without dot, colon or `localhost` is, in a
            reference, part of a repository's name.
    """
    host = parse_host(text)
    if not looks_like_host(host):
        raise ValueError(
            f"{quoted(text)} is not a registry's name; "
            "one has a dot or a port (registry.example.com, registry:5000), or is localhost"
        )
    return host


def parse_host(text: str) -> str:
    """Read `host`, `host:port` or `[::1]:5000`; return it in lower case, without a default port.

    Raises:
        ValueError: it is none.
    """
    host = canonical_host(text)
    match = _HOST_AND_PORT.fullmatch(host) if len(host) <= _HOST_LIMIT else None
    if match is None:
        hint = "; write the host alone, without https:// or a path" if "/" in text else ""
        raise ValueError(f"{quoted(text)} is not a host or host:port{hint}")
    if match[1] is not None:
        _check_six(match[1])
    if match[2] is not None:
        _port(match[2])
    return host


def parse_origin(text: str) -> str:
    """Read the URL of a server: scheme, host, port, nothing more.

    Raises:
        ValueError: it is none; the message never repeats what may be a password.
    """
    parts = _split(text)
    _check_bare(parts)
    if parts.path not in ("", "/"):
        raise ValueError(f"must not have a path ({quoted(parts.path)}); /v2/ is added to it")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def parse_registry_url(text: str) -> str:
    """Read the URL of a registry: scheme, host, port, and what its API has before `/v2/`.

    Raises:
        ValueError: it is none; the message never repeats what may be a password.
    """
    parts = _split(text)
    _check_bare(parts)
    path = re.sub(r"/{2,}", "/", parts.path).rstrip("/")
    if path.endswith("/v2"):
        raise ValueError("must end before /v2/, which is added to it")
    if not _PATH.fullmatch(path):
        raise ValueError(f"must not have the path {quoted(parts.path)}; write it plainly")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"


def parse_proxy_url(text: str) -> str:
    """Read the URL of an HTTP proxy, with or without a user and password.

    Raises:
        ValueError: it is none; the message never repeats what may be a password.
    """
    parts = _split(text)
    if parts.path not in ("", "/"):
        raise ValueError("must not have a path; write http://host:port")
    return f"{parts.scheme}://{parts.netloc}"


def mask_password(url: str) -> str:
    """The URL with its password, if it has one, replaced."""
    return re.sub(r"(://[^/@:]*):[^/]*@", rf"\1:{HIDDEN}@", url)


def _check_bare(parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError("must not contain a user or password; put them under credentials")


def _split(text: str) -> SplitResult:
    # urlsplit would drop tabs and line ends without a word
    if re.search(r"[^\x21-\x7e]", text):
        raise ValueError("must not contain spaces, control or non-ASCII characters in a URL")
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise ValueError("must begin with https:// or http://")
    if "?" in text or "#" in text:
        raise ValueError("must not have a query or a fragment in its URL")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - parsed when it is asked for
    except ValueError:
        raise ValueError("is not a URL; write https://host or https://host:port") from None
    if ":" in (parts.hostname or ""):
        _check_six(parts.hostname or "")
    elif not _is_host(parts.hostname or ""):
        raise ValueError("has no valid host in its URL; write https://host or https://host:port")
    return parts


def _is_host(text: str) -> bool:
    if _NUMERIC.fullmatch(text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= _HOST_LIMIT and _HOST.fullmatch(text) is not None


def _check_six(text: str) -> None:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IPv6 address") from None


def _port(text: str) -> int:
    if int(text) > 65535:
        raise ValueError(f"{quoted(text)} is not a port; the highest is 65535")
    return int(text)


def _hint(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,5}", text):
        return f"write :{text} or 127.0.0.1:{text}"
    if text.count(":") > 1:
        return "write an IPv6 address in brackets: [::1]:5000"
    return "write host:port, such as 0.0.0.0:5000"
