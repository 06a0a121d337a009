"""The admin API of a running server, for the commands that ask it."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from cacheproxy.cli.configuration import (
    ConfigurationFailure,
    RunFailure,
    config_option,
    load_settings,
)
from cacheproxy.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

F = TypeVar("F", bound=Callable[..., Any])

SERVER_VARIABLE = "CACHEPROXY_SERVER"
TOKEN_VARIABLE = "CACHEPROXY_TOKEN"  # noqa: S105  # the name of it
_TOKEN_FILE = "admin.token"  # noqa: S105  # likewise
_CONNECT_SECONDS = 10.0
# A server that is busy with what it was asked for says so every few seconds.
_SILENCE_SECONDS = 60.0
_LONGEST_LINE = 1024 * 1024
_LINES = "application/x-ndjson"
# Whether somebody listens on this machine, or on one nearby, is known sooner than that.
_LOOK_SECONDS = 2.0
# Where a server listens on all interfaces, this machine is one way to it.
_THIS_HOST = ("localhost", "127.0.0.1", "::1")
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared with


def api_options(command: F) -> F:
    """The options by which a command finds the server."""
    token = click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"With the server's token; otherwise ${TOKEN_VARIABLE}, then the configuration, "
        "then admin.token in the cache directory.",
    )
    server = click.option(
        "--server",
        metavar="URL",
        help=f"Its admin port; otherwise ${SERVER_VARIABLE}, then admin.listen of the "
        "configuration.",
    )
    return server(token(config_option(command)))


@dataclass(frozen=True, slots=True)
class AdminApi:
    """Where the API is, and what opens it.

    Attributes:
        url: without a slash at the end.
        token: None where none was found.
        token_from: where it was found, for messages.
    """

    url: str
    token: str | None
    token_from: str

    def get(self, path: str, query: Mapping[str, str | list[str]] | None = None) -> Any:  # noqa: ANN401  # as the API has it
        """The document that a GET answers.

        Raises:
            RunFailure: there is none, with what to do.
        """
        return asyncio.run(self._get(path, query or {}))

    def post(self, path: str, body: object) -> Any:  # noqa: ANN401  # as the API has it
        """Post a document; returns the one that is the answer.

        Raises:
            RunFailure: there is none, with what to do.
        """
        said: list[Any] = []
        self.stream(path, body, said.append)
        if not said:
            raise RunFailure(self._foreign())
        return said[0]

    def stream(self, path: str, body: object, each: Callable[[Any], None]) -> None:
        """Post a document, and be told each line of the answer as it comes.

        Raises:
            RunFailure: it could not be done, or not be heard of to its end; with what to do.
        """
        asyncio.run(self._stream("POST", path, each, json=body))

    def stream_of(
        self, path: str, query: Mapping[str, str | list[str]], each: Callable[[Any], None]
    ) -> None:
        """The same of what a GET answers, line by line.

        Raises:
            RunFailure: as of `stream`.
        """
        accept = {"Accept": _LINES}
        asyncio.run(self._stream("GET", path, each, params=_pairs(query), headers=accept))

    def is_there(self) -> bool:
        """Whether anybody listens at its address."""
        parts = urlsplit(self.url)
        try:
            at = parts.hostname or "", parts.port or 80
            socket.create_connection(at, _LOOK_SECONDS).close()
        except OSError:
            return False
        return True

    async def _get(self, path: str, query: Mapping[str, str | list[str]]) -> Any:  # noqa: ANN401  # as the API has it
        async with self._asked("GET", path, params=_pairs(query)) as response:
            try:
                return json.loads(await response.read())
            except ValueError:
                raise RunFailure(self._foreign()) from None

    async def _stream(
        self,
        method: str,
        path: str,
        each: Callable[[Any], None],
        **options: Any,  # noqa: ANN401  # as aiohttp has them
    ) -> None:
        async with self._asked(method, path, **options) as response:
            async for line in response.content:
                try:
                    document = json.loads(line)
                except ValueError:
                    raise RunFailure(self._foreign()) from None
                each(document)

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **options: Any,  # noqa: ANN401  # as aiohttp has them
    ) -> "AsyncIterator[aiohttp.ClientResponse]":
        import aiohttp  # noqa: PLC0415 - for which --help need not wait

        shown = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
        )
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, read_bufsize=_LONGEST_LINE) as session,
                session.request(
                    method,
                    self.url + path,
                    headers={**shown, **(headers or {})},
                    allow_redirects=False,
                    **options,
                ) as response,
            ):
                if response.status != 200:
                    raise RunFailure(self._refusal(response.status, await response.read()))
                yield response
        except aiohttp.ClientConnectorError as error:
            raise RunFailure(
                f"cacheproxy: no server answers at {self.url}: {error.os_error.strerror or error}; "
                f"start it, or name another one by --server or ${SERVER_VARIABLE}"
            ) from None
        except TimeoutError:
            raise RunFailure(f"cacheproxy: the server at {self.url} does not answer") from None
        except (aiohttp.ClientError, OSError) as error:
            said = str(error) or type(error).__name__
            raise RunFailure(
                f"cacheproxy: the connection to the server at {self.url} broke off: {said}"
            ) from None

    def _refusal(self, status: int, body: bytes) -> str:
        said = _message(body)
        if status == 400 and said is not None:
            raise click.UsageError(f"{said}.")
        if status == 404 and said is not None:
            return f"cacheproxy: {said}"
        if status in (401, 403):
            which = "wants a token" if self.token is None else f"refuses {self.token_from}"
            return (
                f"cacheproxy: the server at {self.url} {which}; its token is admin.token of its "
                f"configuration, else in {_TOKEN_FILE} in its cache directory: --token-file or "
                f"${TOKEN_VARIABLE}"
            )
        if said is None:
            return self._foreign()
        return f"cacheproxy: the server at {self.url} answered {status}: {said}"

    def _foreign(self) -> str:
        return (
            f"cacheproxy: what answers at {self.url} has no such API; is that the admin port of "
            "a cacheproxy of this version?"
        )


def _pairs(query: Mapping[str, str | list[str]]) -> list[tuple[str, str]]:
    return [
        (name, value)
        for name, values in query.items()
        for value in ([values] if isinstance(values, str) else values)
    ]


def _message(body: bytes) -> str | None:
    """What an error of the API says; None where it is none of the API's."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    match document:
        case {"error": {"message": str(message)}}:
            return message
        case _:
            return None


def find_api(
    *, server: str | None = None, token_file: Path | None = None, named: Path | None = None
) -> AdminApi:
    """Where the server is, by what the command line, the environment and the settings say.

    Args:
        server: what `--server` says.
        token_file: what `--token-file` says.
        named: what `--config` says.

    Raises:
        click.UsageError, ConfigurationFailure: one of them is wrong.
        RunFailure: the token cannot be read.
    """
    server = server or os.environ.get(SERVER_VARIABLE) or None
    token = _named_token(token_file)
    if server is not None and token is not None:
        return AdminApi(_url(server), *token)  # there need be no configuration here
    try:
        settings = load_settings(named)
    except SettingsError as error:
        raise ConfigurationFailure(str(error)) from None
    ours = _configured_url(settings)
    url = _url(server) if server is not None else ours
    is_here = url == ours or (urlsplit(url).hostname or "") in _THIS_HOST
    return AdminApi(url, *(token or _configured_token(settings, is_here=is_here)))


def _url(written: str) -> str:
    url = written if "://" in written else f"http://{written}"
    parts = urlsplit(url)
    try:
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment or parts.username:
        raise click.UsageError(f"{written!r} is no server; write http://HOST:PORT.")
    return url.rstrip("/")


def _configured_url(settings: Settings) -> str:
    listen = settings.admin.listen
    host = _HERE.get(listen.host, listen.host)
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def _named_token(file: Path | None) -> tuple[str, str] | None:
    if file is not None:
        return _read(file), f"the token in {file}"
    text = os.environ.get(TOKEN_VARIABLE, "").strip()
    return (text, f"${TOKEN_VARIABLE}") if text else None


def _configured_token(settings: Settings, *, is_here: bool) -> tuple[str | None, str]:
    """The token that the settings name; the one that a server has made is its own alone."""
    configured = settings.admin.token
    if configured is not None:
        return configured.reveal(), "admin.token of the configuration"
    if not is_here:
        return None, ""
    file = settings.cache.directory / _TOKEN_FILE
    try:
        is_there = file.exists()
    except OSError:
        is_there = True  # out of our reach: reading it says so
    return (_read(file), f"the token in {file}") if is_there else (None, "")


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise RunFailure(
            f"cacheproxy: the token in {file} cannot be read: {said}; run this as the user that "
            "the server runs as, or name another by --token-file"
        ) from None
    if not text:
        raise RunFailure(f"cacheproxy: {file} is empty; it should hold the server's token")
    return text
