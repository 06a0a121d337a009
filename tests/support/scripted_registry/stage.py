"""What a registry and its helpers have in common."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.scripted_registry.delivery import Sleep
from tests.support.scripted_registry.journal import Journal
from tests.support.scripted_registry.signed_urls import SignedUrls


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Stage:
    """Clock, journal and signed URLs; `problems` are what a test must not pass with."""

    tls: ssl.SSLContext | None = None
    sleep: Sleep = asyncio.sleep
    clock: Callable[[], float] = _loop_time
    journal: Journal = field(default_factory=Journal)
    signed_urls: SignedUrls = field(default_factory=SignedUrls)
    problems: list[str] = field(default_factory=list)
