"""Where a Redis is, how to get into it, and what part of it is ours: one URL for all of that.

redis://[user:password@]host[:port][/database][?namespace=prod]
rediss://                    the same over TLS; ?ca_file=, ?certificate=, ?key=
redis+sentinel://host[:port],host[:port]/service[/database]
redis+cluster://host[:port],host[:port]

`valkey://` and `valkeys://` are other names of the first two. No message repeats what is
written, but for the scheme: a password that is not percent-encoded can stand anywhere in it.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

Kind = Literal["single", "sentinel", "cluster"]
Host = tuple[str, int]

NAMESPACE = "cacheproxy"
"""Before all of our keys, where the URL names no other."""

HIDDEN = "***"

_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "valkey": ("single", False),
    "valkeys": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_SHOWN = {(kind, is_tls): scheme for scheme, (kind, is_tls) in reversed(_SCHEMES.items())}
_EXAMPLES: dict[Kind, str] = {
    "single": "redis://host:6379/0",
    "sentinel": "redis+sentinel://host1:26379,host2:26379/service/0",
    "cluster": "redis+cluster://host1:6379,host2:6379",
}
_PORTS: dict[Kind, int] = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_PARAMETERS = ("namespace", "ca_file", "certificate", "key")
_OF_TLS = _PARAMETERS[1:]

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DATABASE = re.compile(r"0|[1-9][0-9]{0,8}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A Redis, as `metadata.url` names it. As a text, its password is hidden.

    Attributes:
        kind: one server; Sentinels, which know which server it is now; or a Cluster.
        hosts: servers, or the Sentinels, with their ports.
        is_tls: whether connections are encrypted, and the server's certificate is checked.
        username: of an ACL user; None for the default one.
        password: likewise; None where none is needed.
        service: what the Sentinels call the server; empty for other kinds.
        database: its number; a Cluster has only 0.
        namespace: before all of our keys, so that others can share the server.
        ca_file: PEM, trusted instead of the system's authorities.
        certificate: PEM, for servers that ask for one.
        key: of that certificate; PEM.
    """

    kind: Kind
    hosts: tuple[Host, ...]
    is_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str = ""
    database: int = 0
    namespace: str = NAMESPACE
    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __str__(self) -> str:
        path = "/".join(part for part in (self.service, str(self.database or "")) if part)
        asked = [
            f"{name}={quote(value)}"
            for name in _PARAMETERS
            if (value := getattr(self, name)) is not None and value != NAMESPACE
        ]
        login = self._login()
        return (
            f"{_SHOWN[self.kind, self.is_tls]}://{login}{','.join(map(_spelt, self.hosts))}"
            f"{'/' if path else ''}{path}{'?' if asked else ''}{'&'.join(asked)}"
        )

    def _login(self) -> str:
        if self.username is None and self.password is None:
            return ""
        hidden = "" if self.password is None else f":{HIDDEN}"
        return f"{quote(self.username or '', safe='')}{hidden}@"


def is_redis(url: str) -> bool:
    """Whether a URL has one of the schemes, however wrong the rest of it is."""
    return url.partition(":")[0] in _SCHEMES


def parse_redis_url(text: str) -> RedisUrl:
    """Return what a URL names.

    Raises:
        ValueError: it cannot be; the sentence says what to write, and repeats no secret.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme not in _SCHEMES:
        raise ValueError(f"is no URL of a Redis; write one such as {_EXAMPLES['single']}")
    kind, is_tls = _SCHEMES[scheme]
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    if "@" in path or "@" in query:
        raise _no_host(kind)  # what was taken for these is of a password
    login, _, places = authority.rpartition("@")
    username, password = _read_login(login)
    service, database = _read_path(kind, path)
    asked = _read_query(query, is_tls=is_tls)
    return RedisUrl(
        kind,
        _read_hosts(kind, places),
        is_tls,
        username,
        password,
        service,
        database,
        namespace=asked.get("namespace", NAMESPACE),
        ca_file=asked.get("ca_file"),
        certificate=asked.get("certificate"),
        key=asked.get("key"),
    )


def _read_login(login: str) -> tuple[str | None, str | None]:
    username, has_password, password = login.partition(":")
    if password == HIDDEN:
        raise ValueError(f"has the password {HIDDEN}, which only stands for a hidden one")
    return _unquoted(username) or None, _unquoted(password) if has_password else None


def _read_hosts(kind: Kind, places: str) -> tuple[Host, ...]:
    hosts = []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        port = int(match[2] or _PORTS[kind]) if match else 0
        if match is None or not 0 < port < 65536:
            raise _no_host(kind)
        hosts.append((match[1].strip("[]"), port))
    if kind == "single" and len(hosts) > 1:
        raise ValueError(
            f"has several hosts; of a Cluster write {_EXAMPLES['cluster']}, with Sentinels "
            f"{_EXAMPLES['sentinel']}"
        )
    return tuple(hosts)


def _no_host(kind: Kind) -> ValueError:
    return ValueError(
        f"has no proper host; write one such as {_EXAMPLES[kind]}, and percent-encode what is "
        "not a letter or a digit in a user name or a password"
    )


def _read_path(kind: Kind, path: str) -> tuple[str, int]:
    parts = [part for part in path.split("/") if part]
    service = ""
    if kind == "sentinel":
        if not parts or _SERVICE.fullmatch(parts[0]) is None:
            raise ValueError(
                f"does not say what the Sentinels call the server; write {_EXAMPLES['sentinel']}"
            )
        service = parts.pop(0)
    database = parts.pop(0) if parts else "0"
    if parts or _DATABASE.fullmatch(database) is None:
        raise ValueError(f"has no number of a database at its end; write {_EXAMPLES[kind]}")
    if kind == "cluster" and database != "0":
        raise ValueError("names a database, but a Cluster has only one; leave it out")
    return service, int(database)


def _read_query(query: str, *, is_tls: bool) -> dict[str, str]:
    asked: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name not in _PARAMETERS or name in asked:
            raise ValueError(
                f"has a parameter that is unknown, or is there twice; there are "
                f"{', '.join(_PARAMETERS)}"
            )
        asked[name] = _unquoted(value)
        if not asked[name]:
            raise ValueError(f"has an empty {name}; write a value, or leave it out")
        if name in _OF_TLS and not is_tls:
            raise ValueError(f"has {name}, which is of use with TLS only; write rediss://")
    if ("certificate" in asked) != ("key" in asked):
        raise ValueError("has only one of certificate and key; write both")
    if "namespace" in asked and _NAMESPACE.fullmatch(asked["namespace"]) is None:
        raise ValueError("has a namespace that is not made of letters, digits and . _ -")
    return asked


def _unquoted(text: str) -> str:
    try:
        found = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a percent-encoding that is not UTF-8") from None
    if _CONTROL.search(found):
        raise ValueError("has a percent-encoded control character")
    return found


def _spelt(host: Host) -> str:
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    return f"{name}:{host[1]}"
