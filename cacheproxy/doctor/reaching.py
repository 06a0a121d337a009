"""The way to a registry, step by step: its name, a connection, TLS, and `/v2/`."""

import asyncio
import contextlib
import email.utils
import os
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from cacheproxy.doctor.findings import Finding, in_thread
from cacheproxy.doctor.way import answered, of_tls
from cacheproxy.inprocess.failures import explain_failure
from cacheproxy.ports import Clock
from cacheproxy.upstream.config import UpstreamConfig

_RESOLVING = 10.0  # seconds
_ADDRESSES = 8  # of one name, that are tried
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "cacheproxy"}

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry, or a mirror of it, is asked.

    Attributes:
        name: in findings.
        key: of the configuration, that has its settings.
        config: of it; its URL is that of the place.
    """

    name: str
    key: str
    config: UpstreamConfig

    @property
    def target(self) -> URL:
        """What is connected to: the registry, or the proxy on the way."""
        return self.config.proxy or self.config.url


@dataclass(slots=True)
class Reached:
    """How far one came.

    Attributes:
        findings: of each step; the last one is where it ended.
        status: of the answer to `/v2/`; None if there was none.
        skew: seconds that its clock is ahead of ours, where it says its time.
    """

    findings: list[Finding] = field(default_factory=list)
    status: int | None = None
    skew: float | None = None

    @property
    def is_well(self) -> bool:
        """Whether a registry answers there."""
        return self.status in (200, 401)


async def reach(place: Place, clock: Clock) -> Reached:
    """Go the way, as far as it leads."""
    reached = Reached()
    addresses = await _resolved(place, reached)
    address = await _connected(place, addresses, reached) if addresses else None
    # What is behind a proxy is the proxy's to connect to.
    if address is None:
        return reached
    if place.target.scheme == "https" and not await _encrypted(place, address, reached):
        return reached
    await _asked(place, clock, reached)
    return reached


async def _resolved(place: Place, reached: Reached) -> list[Address]:
    name, host, port = f"{place.name}: name", place.target.host or "", place.target.port or 443
    try:
        found = await in_thread(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), _RESOLVING
        )
    except TimeoutError:
        said = f"no name server says within {_RESOLVING:g} s where {host} is"
        advice = "see that the name servers in /etc/resolv.conf can be reached from here"
        reached.findings.append(Finding(name, "failed", said, advice))
        return []
    except OSError as error:
        said = f"{host} has no address: {error.strerror}"
        advice = f"see that {_url_key(place)} is spelt right, and what /etc/resolv.conf names"
        reached.findings.append(Finding(name, "failed", said, advice))
        return []
    addresses = list(dict.fromkeys((str(each[4][0]), int(each[4][1])) for each in found))
    said = f"{host} is {', '.join(address for address, _ in addresses)}"
    reached.findings.append(Finding(name, "ok", said))
    return addresses[:_ADDRESSES]


def _url_key(place: Place) -> str:
    return f"{place.key}.proxy_url" if place.config.proxy else f"{place.key}.url"


async def _connected(place: Place, addresses: list[Address], reached: Reached) -> Address | None:
    """The first address that takes a connection; all are tried at once."""
    seconds = place.config.connect_timeout
    problems = await asyncio.gather(*(_problem(address, seconds) for address in addresses))
    good = [address for address, problem in zip(addresses, problems, strict=True) if not problem]
    bad = [
        f"{address[0]}: {problem}"
        for address, problem in zip(addresses, problems, strict=True)
        if problem
    ]
    name, port = f"{place.name}: connection", addresses[0][1]
    if not good:
        advice = (
            f"see that something listens at port {port} there ({_url_key(place)}), and that no "
            "firewall is on the way; where only an HTTP proxy leads out, name it in "
            f"{place.key}.proxy_url"
        )
        reached.findings.append(Finding(name, "failed", "; ".join(bad), advice))
        return None
    if bad:
        said = f"not all of its addresses take one: {'; '.join(bad)}"
        advice = "some pulls wait for these first; see whether there is a way to them from here"
        reached.findings.append(Finding(name, "warning", said, advice))
    else:
        said = f"port {port} takes one" + (", of the proxy" if place.config.proxy else "")
        reached.findings.append(Finding(name, "ok", said))
    return good[0]


async def _problem(address: Address, seconds: float) -> str:
    """Why an address takes no connection; empty if it does."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(*address)
    except TimeoutError:
        return f"no answer within {seconds:g} s"
    except OSError as error:
        return _cause(error)
    await _closed(writer)
    return ""


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _cause(error: OSError) -> str:
    """Without the address, which asyncio writes into its message."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _encrypted(place: Place, address: Address, reached: Reached) -> bool:
    seconds, name = place.config.connect_timeout, f"{place.name}: TLS"
    tls = place.config.tls
    context = tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(
                *address, ssl=context, server_hostname=place.target.host
            )
    except TimeoutError:
        said = f"no end of the handshake within {seconds:g} s"
        advice = f"see that {_url_key(place)} names a port for TLS, and what is on the way to it"
        reached.findings.append(Finding(name, "failed", said, advice))
        return False
    except OSError as error:
        said, advice = of_tls(error, place.key, place.target)
        reached.findings.append(Finding(name, "failed", said, advice))
        return False
    version = str(writer.get_extra_info("ssl_object").version())
    await _closed(writer)
    reached.findings.append(_verified(place, name, version, context))
    return True


def _verified(place: Place, name: str, version: str, context: ssl.SSLContext) -> Finding:
    if context.verify_mode == ssl.CERT_NONE:
        said = f"{version}, and its certificate is not verified ({place.key}.insecure)"
        advice = f"name its authority in {place.key}.ca_file instead, and remove insecure"
        return Finding(name, "warning", said, advice)
    return Finding(name, "ok", f"{version}, and its certificate is right")


async def _asked(place: Place, clock: Clock, reached: Reached) -> None:
    config, name = place.config, f"{place.name}: /v2/"
    url, begun = config.url / "v2" / "", clock.now()
    options: dict[str, Any] = {"headers": _HEADERS, "allow_redirects": False}
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=config.tls),
                timeout=aiohttp.ClientTimeout(total=config.answer_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            session.get(url, proxy=config.proxy, **options) as response,
        ):
            reached.status = response.status
            reached.skew = _skew(response.headers.get("Date"), begun, clock.now())
            location = response.headers.get("Location")
    except TimeoutError:
        said = f"it took the connection, and did not answer within {config.answer_timeout:g} s"
        advice = (
            "it hangs, or what is on the way to it does; if it is only slow, make "
            f"{place.key}.answer_timeout longer"
        )
        reached.findings.append(Finding(name, "failed", said, advice))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        ended = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
        alert = await _alert(place) if ended else None
        reached.findings.append(_unreadable(place, name, alert or error))
    else:
        reached.findings.append(answered(name, place.key, reached.status, location))


async def _alert(place: Place) -> OSError | None:
    """Why a server ends a connection after the handshake, as TLS 1.3 has it; None: not by TLS.

    It wants a certificate of ours, say. Whoever writes may see no more than that it has ended.
    """
    config, tls = place.config, place.config.tls
    if config.url.scheme != "https" or config.proxy or not isinstance(tls, ssl.SSLContext):
        return None
    writer = None
    try:
        async with asyncio.timeout(config.connect_timeout):
            reader, writer = await asyncio.open_connection(
                config.url.host, config.url.port, ssl=tls
            )
            await reader.read(1)
    except ssl.SSLError as error:
        return error
    except OSError:
        return None
    finally:
        if writer is not None:
            await _closed(writer)
    return None


def _unreadable(place: Place, name: str, error: Exception) -> Finding:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLError):
        said, advice = of_tls(cause, place.key, place.config.url)
        return Finding(name, "failed", said, advice)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        said = f"the proxy on the way answered {error.status}"
        advice = f"see what it allows, and its user and password in {place.key}.proxy_url"
        return Finding(name, "failed", said, advice)
    # By its kind alone: a message may have an address in it, with a proxy's password.
    said = f"what comes is no HTTP, or breaks off: {explain_failure(error).what}"
    advice = f"see what listens at {place.key}.url: its scheme or its port may be another's"
    return Finding(name, "failed", said, advice)


def _skew(date: str | None, begun: float, ended: float) -> float | None:
    """How far its clock is ahead; nothing that is within the second that it rounds to."""
    try:
        said = email.utils.parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    ahead, behind = said - ended, begun - (said + 1)
    return ahead if ahead > 0 else -behind if behind > 0 else 0.0
