"""A pull, done directly and through the proxy, and what must be the same."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from cacheproxy.settings.secret import Secret
from cacheproxy.settings.upstream_model import CredentialsSettings
from tests.differential.client import Client, Refused
from tests.differential.contents import OTHER_TAG, REPOSITORY, TAG, Content
from tests.differential.quirk import Quirk
from tests.differential.registry import PASSWORD, USER, QuirkyRegistry
from tests.integration.fills import until
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.images import sha256

_FRESH_FOR = 100.0
_TAGS = {"fresh_for": _FRESH_FOR, "stale_if_error": 10_000.0, "not_found_for": 1.0}

Pulled = Mapping[str, str]
"""The results of the steps that worked: digests, or lists."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A step that works directly, and is another one through the proxy.

    Attributes:
        phase: `cold`, `warm`, `stale`: the tag names something new; `down`: the registry is off.
        step: of the pull.
        expected: what came directly; when the registry is off, what came before.
        found: what came through the proxy; None if it did not work.
    """

    phase: str
    step: str
    expected: str
    found: str | None


async def differences(quirks: Sequence[Quirk]) -> list[Difference]:
    """Pull from a registry with these quirks, and through a proxy in front of it."""
    versions = [Content.of(version, quirks) for version in (0, 1)]
    login = (USER, PASSWORD) if {"user", "basic"} & {quirk.login for quirk in quirks} else None
    fallback = "subject" if any(q.fallback == "subject" for q in quirks) else "list"
    found: list[Difference] = []
    with TemporaryDirectory() as directory:
        async with (
            QuirkyRegistry(quirks) as registry,
            hasty_proxy({"docker.io": registry}, Path(directory), _wanted(login)) as proxy,
        ):
            versions[0].store(registry, fallback)
            directly = await _pull(proxy, registry.url, versions[0], login)
            for phase in ("cold", "warm"):
                found += _compared(phase, directly, await _through(proxy, versions[0]))
            versions[1].store(registry, fallback)
            proxy.clock.advance(_FRESH_FOR + 1)
            directly = await _pull(proxy, registry.url, versions[1], login)
            before = await _through(proxy, versions[1])
            found += _compared("stale", directly, before)
            await until(lambda: not proxy.core.pull_through.fills)
            await registry.stop()
            await registry.cdn.stop()
            proxy.clock.advance(_FRESH_FOR + 1)
            kept = {step: value for step, value in before.items() if _is_kept(step, before)}
            found += _compared("down", kept, await _through(proxy, versions[1]))
    return found


def _is_kept(step: str, pulled: Pulled) -> bool:
    """Whether what a step brought is stored: a range of a blob only if the blob came whole."""
    return step != "range" or "blob 1" in pulled


def _wanted(login: tuple[str, str] | None) -> Wanted:
    credentials = None if login is None else CredentialsSettings(USER, Secret(PASSWORD))
    return Wanted(tags=_TAGS, upstream={"credentials": credentials})


async def _through(proxy: HastyProxy, content: Content) -> Pulled:
    return await _pull(proxy, proxy.url, content, None)


async def _pull(
    proxy: HastyProxy, base: str, content: Content, login: tuple[str, str] | None
) -> Pulled:
    """Pull everything; steps that do not work are missing.

    Raises:
        AssertionError: the proxy sent what is not what was asked for.
    """
    async with aiohttp.ClientSession(
        auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60)
    ) as session:
        client = Client(session, base, REPOSITORY, login)
        pulled = await _steps(client, content)
        assert base != proxy.url or not client.wrong, f"the proxy is wrong: {client.wrong}"
        return pulled


async def _steps(client: Client, content: Content) -> Pulled:
    index, image = content.index.digest, content.image.digest
    config, *layers = content.image.blobs
    done: dict[str, str] = {}

    async def step(name: str, came: Awaitable[object]) -> None:
        try:
            value = await came
        except Refused:
            return
        done[name] = sha256(value) if isinstance(value, bytes) else str(value)

    await step("head of tag", client.head(f"manifests/{TAG}"))
    await step("tag", client.manifest(TAG))
    await step("another tag, by GET alone", client.manifest(OTHER_TAG))
    await step("index", client.manifest(index))
    await step("head of manifest", client.head(f"manifests/{image}"))
    await step("manifest", client.manifest(image))
    await step("head of layer", client.head(f"blobs/{layers[0].digest}"))
    await step("range", client.part(layers[0].digest, layers[0].body))
    for number, blob in enumerate((config, *layers)):
        await step(f"blob {number}", client.blob(blob.digest))
    await step("tags", client.tags())
    await step("referrers", client.referrers(index))
    return done


def _compared(phase: str, expected: Pulled, found: Pulled) -> list[Difference]:
    return [
        Difference(phase, step, value, found.get(step))
        for step, value in expected.items()
        if found.get(step) != value
    ]
