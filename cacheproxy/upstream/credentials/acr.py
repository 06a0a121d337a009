"""Azure Container Registry: a refresh token of the registry, for an access token of Entra's.

Source: "Authentication with Azure Container Registry over OAuth 2" (AAD-OAuth.md of Azure/acr).
Who we are to Azure is up to azure-identity's default chain: the environment, workload identity,
the managed identity, Azure's command line.
"""

import logging
import ssl
from dataclasses import dataclass

import aiohttp
import msgspec
from yarl import URL

from cacheproxy.domain.errors import UpstreamUnavailable
from cacheproxy.inprocess.failures import explain_failure
from cacheproxy.ports import Clock
from cacheproxy.upstream.answers import read_at_most
from cacheproxy.upstream.credentials.aside import Aside
from cacheproxy.upstream.credentials.cloud_failures import explain_cloud_failure
from cacheproxy.upstream.credentials.login import Login, NoLoginError
from cacheproxy.upstream.credentials.patience import NotYetError, Patience
from cacheproxy.upstream.tokens import lifetime_of

# Which tells the registry that the password is a token.
_USER = "00000000-0000-0000-0000-000000000000"
# As Azure's own clients ask for it.
_SCOPE = "https://containerregistry.azure.net/.default"
_PATH = "/oauth2/exchange"
_CONNECT, _READ = 3, 5  # seconds, of each request within the chain
# Of all of them: the chain may ask several services.
_SECONDS = 20.0
_ANSWER = 256 * 1024
# What a refresh token is good for when it does not say.
_UNSAID = 300.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """The registry, and the way to it: that of its upstream.

    Attributes:
        url: of the registry; what is asked is below its host.
        tls: how to verify it, and what to show it.
        proxy: an HTTP proxy on the way to it.
        connect_timeout: seconds until a connection stands.
        answer_timeout: seconds until an answer's head; all of it, twice as long.
    """

    url: URL
    tls: ssl.SSLContext | bool = True
    proxy: URL | None = None
    connect_timeout: float = 5.0
    answer_timeout: float = 10.0


class Acr:
    """A refresh token as a password (`Source`).

    Args:
        exchange: whom to ask for it.
        client_id: of the identity that we are; None for the one that the chain finds.
        clock: of the time of day, which a token's end is told in.
    """

    def __init__(self, exchange: Exchange, client_id: str | None, clock: Clock) -> None:
        self._exchange = exchange
        self._client_id = client_id
        self._clock = clock
        self._aside: Aside[str] = Aside("Azure", _SECONDS)
        self._patience = Patience(clock)

    def changed(self) -> bool:
        """Only Azure knows, and it is not asked."""
        return False

    async def fetch(self) -> tuple[Login, float | None]:
        """A new refresh token.

        Raises:
            NoLoginError: Azure gives no access token, or the registry nothing for it.
        """
        token = _parsed(await self._patience.with_(self._asked))
        return Login(_USER, token), lifetime_of(token, self._clock.now(), _UNSAID)

    async def _asked(self) -> bytes:
        """The registry's answer to an access token."""
        access_token = await self._aside.run(lambda: _access_token(self._client_id))
        # The tenant may be named as well; the access token says whose it is.
        form = {
            "grant_type": "access_token",
            "service": self._exchange.url.host or "",
            "access_token": access_token,
        }
        return await _exchanged(self._exchange, form)


def _access_token(client_id: str | None) -> str:
    # Here: an optional dependency, which takes its time to import.
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415

    # Of a chain without a token, azure-identity warns with what it was answered, whatever that is.
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # None would be the system's identity, even where the environment names another one.
    identity = {} if client_id is None else {"managed_identity_client_id": client_id}
    try:
        # A new chain each time: what it is told by the environment's files may be new.
        with DefaultAzureCredential(
            # People's tools, and what asks a person.
            exclude_interactive_browser_credential=True,
            exclude_broker_credential=True,
            exclude_shared_token_cache_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_powershell_credential=True,
            exclude_developer_cli_credential=True,
            connection_timeout=_CONNECT,
            read_timeout=_READ,
            retry_total=0,  # asking again is up to us
            **identity,
        ) as credential:
            return credential.get_token(_SCOPE).token
    except Exception as error:
        # Whatever it is: the chain runs programs, reads files and asks services.
        raise NotYetError(f"Azure gives no access token: {explain_cloud_failure(error)}") from error


async def _exchanged(exchange: Exchange, form: dict[str, str]) -> bytes:
    host = exchange.url.host
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=exchange.tls),
                timeout=aiohttp.ClientTimeout(
                    total=2 * exchange.answer_timeout, sock_connect=exchange.connect_timeout
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            ) as session,
            session.post(
                exchange.url.origin().with_path(_PATH),
                data=form,
                headers={"Accept-Encoding": "identity", "User-Agent": "cacheproxy"},
                allow_redirects=False,  # it would carry the access token on
                proxy=exchange.proxy,
            ) as response,
        ):
            if response.status != 200:
                kind = NotYetError if response.status >= 500 else NoLoginError
                raise kind(f"{host} answers {response.status} to POST {_PATH}")
            return await read_at_most(response, _ANSWER)
    except UpstreamUnavailable:
        raise NoLoginError(f"{host}'s answer to POST {_PATH} is too long") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotYetError(f"{host} cannot be asked: {explain_failure(error)}") from error


class _Answer(msgspec.Struct):
    refresh_token: str = ""


def _parsed(body: bytes) -> str:
    try:
        token = msgspec.json.decode(body, type=_Answer).refresh_token
    except (msgspec.MsgspecError, ValueError, RecursionError):
        token = ""
    if not token:
        raise NoLoginError(f"the registry's answer to POST {_PATH} holds no refresh token")
    return token
