"""The server that is running here: pulls through it, by each way of saying which registry."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from cacheproxy.doctor.findings import Finding
from cacheproxy.doctor.images import Sample
from cacheproxy.domain import media_types
from cacheproxy.inprocess.failures import explain_failure
from cacheproxy.settings.addresses import Address
from cacheproxy.settings.model import Settings
from cacheproxy.settings.upstream_model import UpstreamSettings

_NAME = "server"
_MARGIN = 5.0  # seconds beyond those in which the server itself says that it is too long
_CONNECTING = 3.0
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound
_ANSWER = 64 * 1024
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    digest: str
    said: str
    body: bytes = b""


async def check_server(settings: Settings, samples: Mapping[str, Sample]) -> list[Finding]:
    """Pull a manifest of each upstream through the server at `server.listen`, if there is one."""
    address = _reachable(settings.server.listen)
    if not await _listens(address):
        said = f"nothing listens at {address}, so nothing was pulled through it"
        return [Finding(_NAME, "skipped", said, "cacheproxy serve starts one")]
    if settings.server.tls is not None and settings.server.tls.client_ca is not None:
        said = "it wants clients' certificates (server.tls.client_ca), and doctor has none"
        return [Finding(_NAME, "skipped", said), *await _health(settings)]
    scheme = "https" if settings.server.tls else "http"
    timeout = settings.server.response_timeout + _MARGIN
    async with _session(timeout) as session:
        asked = _Asking(session, f"{scheme}://{address}")
        first = await asked.ping()
        if first.state == "failed":
            return [first]
        pulls = [
            _pulled(asked, name, _cached(upstream, samples.get(name)))
            for name, upstream in settings.upstreams.items()
        ]
        return [first, *await _health(settings), *await asyncio.gather(*pulls)]


def _cached(upstream: UpstreamSettings, sample: Sample | None) -> Sample | None:
    """The sample, if it may be there: of what is never asked only the user knows what is cached."""
    is_guessed = sample is not None and not sample.is_named
    return None if upstream.offline is True and is_guessed else sample


def _session(timeout: float) -> aiohttp.ClientSession:
    # Its names need not include this machine's loopback: the certificate is looked at by itself.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=timeout),
    )


def _reachable(listen: Address) -> Address:
    return Address(_LOOPBACK.get(listen.host, listen.host), listen.port)


async def _listens(address: Address) -> bool:
    if address.port == 0:
        return False
    try:
        async with asyncio.timeout(_CONNECTING):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


class _Asking:
    """Asks one server, and raises nothing."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def ping(self) -> Finding:
        """Whether it is a registry at all."""
        answer = await self.get("/v2/")
        if answer.status == 200:
            return Finding(_NAME, "ok", f"{self.url} answers")
        said = f"{self.url}/v2/ answers {answer.status}: {answer.said}"
        if answer.status == 0:
            said = f"{self.url} does not answer: {answer.said}"
        advice = (
            "another program may have this port (ss -ltnp), or the server runs with another "
            "configuration: restart it"
        )
        return Finding(_NAME, "failed", said, advice)

    async def get(self, target: str) -> _Answer:
        """The answer; status 0 where there is none."""
        headers = {"Accept": media_types.ACCEPT}
        try:
            async with self._session.get(self.url + target, headers=headers) as response:
                body = await response.content.read(_ANSWER)
                digest = response.headers.get("Docker-Content-Digest", "")
                return _Answer(response.status, digest, _message(body), body)
        except TimeoutError:
            return _Answer(0, "", "no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _Answer(0, "", explain_failure(error).what)


def _message(body: bytes) -> str:
    """What an error of the API says."""
    try:
        return str(json.loads(body)["errors"][0]["message"])
    except (ValueError, LookupError, TypeError):
        return body[:_SHOWN].decode(errors="replace").strip()


async def _pulled(asked: _Asking, registry: str, sample: Sample | None) -> Finding:
    name = f"{_NAME}: {registry}"
    if sample is None:
        said = "no image of it is known that may be pulled"
        advice = f"name one: --image {registry}/REPOSITORY:TAG"
        return Finding(name, "skipped", said, advice)
    repository, manifest = sample.repository.name, f"manifests/{sample.reference}"
    ways = {
        "?ns=": f"/v2/{repository}/{manifest}?ns={registry}",
        f"/v2/{registry}/": f"/v2/{registry}/{repository}/{manifest}",
        f"/{registry}/v2/": f"/{registry}/v2/{repository}/{manifest}",
    }
    answers: list[tuple[str, _Answer]] = []
    for way, target in ways.items():  # one after the other: what the first one brings is cached
        answers.append((way, await asked.get(target)))
        if not answers[-1][1].status:
            break  # the others would wait as long
    failed = [
        f"{way} {each.status or 'failed'}: {each.said}"
        for way, each in answers
        if each.status != 200
    ]
    if failed:
        return _not_pulled(name, sample, answers, "; ".join(dict.fromkeys(failed)))
    digests = {each.digest for _, each in answers}
    if len(digests) > 1:
        said = f"{sample} is not the same each time: {', '.join(sorted(digests))}"
        return Finding(name, "warning", said, "it may have been pushed just now; try again")
    return Finding(name, "ok", f"{sample} by {', '.join(ways)}: {digests.pop()}")


def _not_pulled(
    name: str, sample: Sample, answers: list[tuple[str, _Answer]], said: str
) -> Finding:
    statuses = {answer.status for _, answer in answers}
    advice = (
        "what was found of the upstream itself says why; if that is well, the server runs with "
        "another configuration: restart it, and see its log"
    )
    if statuses == {404} and not sample.is_named:
        return Finding(name, "warning", f"{sample}: {said}", advice)
    return Finding(name, "failed", f"{sample}: {said}", advice)


async def _health(settings: Settings) -> list[Finding]:
    name, address = "admin port", _reachable(settings.admin.listen)
    async with _session(_MARGIN) as session:
        asked = _Asking(session, f"http://{address}")
        healthy, ready = await asked.get("/healthz"), await asked.get("/readyz")
    if healthy.status != 200:
        said = f"{address}/healthz: {healthy.status or healthy.said}"
        advice = "see that admin.listen is what the server runs with: restart it"
        return [Finding(name, "failed", said, advice)]
    if ready.status != 200:
        said = f"{address}/readyz: {ready.status}, {ready.said}"
        advice = "it is starting or draining: see its log, and try again"
        return [Finding(name, "warning", said, advice)]
    problem = _problem(ready.body)
    if problem:
        advice = (
            "it is tried again every few seconds; if it stays, look at the volume (df, dmesg) and "
            "at the server's log"
        )
        return [Finding(name, "failed", f"{address}/readyz: {problem}", advice)]
    return [Finding(name, "ok", f"{address}: /healthz and /readyz answer")]


def _problem(body: bytes) -> str:
    """Return the problem that a server which is ready has nevertheless; empty if none."""
    try:
        return str(json.loads(body).get("problem", ""))
    except (ValueError, AttributeError):
        return ""
