"""Docker's `config.json`: logins of its own, and credential helpers that it names."""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from cacheproxy.upstream.credentials.files import WatchedFile
from cacheproxy.upstream.credentials.helpers import ask_docker_helper
from cacheproxy.upstream.credentials.login import Login, NoLoginError

T = TypeVar("T")

# As `docker login` writes Docker Hub's name, and what else is Docker Hub.
_HUB_KEY = "https://index.docker.io/v1/"
_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SECONDS = 10.0
# What Azure's registry takes an identity token for when it comes as a password, and what
# Docker's helpers say instead of a user's name when they give one.
_AZURE_USER = "00000000-0000-0000-0000-000000000000"
_AZURE = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
_IDENTITY = "<token>"


class _Entry(msgspec.Struct):
    auth: str | None = None
    username: str | None = None
    password: str | None = None
    identitytoken: str | None = None


class _Config(msgspec.Struct):
    auths: dict[str, _Entry] | None = None
    helper: str | None = msgspec.field(default=None, name="credsStore")
    helpers: dict[str, str] | None = msgspec.field(default=None, name="credHelpers")


class DockerConfig:
    """The login that Docker would use for a registry (`Source`).

    Args:
        path: of `config.json`.
        hosts: the registry's names, the preferred one first.
    """

    def __init__(self, path: Path, hosts: tuple[str, ...]) -> None:
        is_hub = any(host in _HUB for host in hosts)
        self._hosts = tuple(dict.fromkeys((*hosts, *(_HUB if is_hub else ()))))
        self._server = _HUB_KEY if is_hub else hosts[0]
        self._file = WatchedFile(path)

    def changed(self) -> bool:
        """Whether the file is another one; of its helpers nobody knows."""
        return self._file.changed()

    async def fetch(self) -> tuple[Login, float | None]:
        """What the file has now, or the helper that it names.

        Raises:
            NoLoginError: it is broken, or has nothing for this registry.
        """
        config = _parsed(await self._file.read())
        helper = self._of(config.helpers or {}) or config.helper
        if helper:
            found = await self._asked(helper)
            if found is not None:
                return found
        entry = self._of(config.auths or {})
        if entry is None:
            raise NoLoginError(f"the file has nothing for {self._server}; run docker login there")
        return self._login(entry), None

    async def _asked(self, helper: str) -> tuple[Login, float | None] | None:
        if _HELPER.fullmatch(helper) is None:
            raise NoLoginError("the file names a credential helper that cannot be one")
        found = await ask_docker_helper(f"docker-credential-{helper}", self._server, _SECONDS)
        if found is None or found[0].username != _IDENTITY:
            return found
        return self._identity(found[0].password), None

    def _of(self, entries: Mapping[str, T]) -> T | None:
        """The first of the entries that is this registry's."""
        by_host = dict(_by_host(entries))
        return next((by_host[host] for host in self._hosts if host in by_host), None)

    def _login(self, entry: _Entry) -> Login:
        username, password = entry.username or "", entry.password or ""
        if entry.auth:
            username, password = _pair(entry.auth)
        if entry.identitytoken:
            return self._identity(entry.identitytoken)
        if not username or not password:
            raise NoLoginError(f"the file's entry for {self._server} has no user or no password")
        return Login(username, password)

    def _identity(self, token: str) -> Login:
        """An identity token as a login, where that is possible without an OAuth2 POST."""
        if not self._hosts[0].endswith(_AZURE):
            raise NoLoginError(
                f"there is an identity token for {self._server}, which is of use at Azure only; "
                "log in with a user and an access token"
            )
        return Login(_AZURE_USER, token)


def _parsed(content: bytes) -> _Config:
    try:
        return msgspec.json.decode(content, type=_Config)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise NoLoginError("the file is not a whole config.json of Docker's") from None


def _by_host(entries: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    """The entries by the registry's host: `https://index.docker.io/v1/`, `quay.io`, `r:5000`."""
    for key, entry in entries.items():
        host, _, path = re.sub(r"^https?://", "", key).partition("/")
        if path.strip("/") in ("", "v1", "v2"):
            yield host.lower(), entry


def _pair(auth: str) -> tuple[str, str]:
    """User and password of an `auth`; Docker pads passwords with NULs at times."""
    try:
        pair = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, ValueError):
        raise NoLoginError("the file has an auth that is not base64 of user:password") from None
    username, _, password = pair.partition(":")
    return username, password.rstrip("\0")
