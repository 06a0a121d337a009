"""Clients that pull at a steady pace while something else happens, each answer looked at."""

import hashlib
import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.parts.swarm import Address

_TIMEOUT = 60.0  # seconds without a byte


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for, and what its body must be.

    Attributes:
        address: of who is asked.
        target: the path.
        digest: of the body.
    """

    address: Address
    target: str
    digest: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came of one pull.

    Attributes:
        began: by the monotonic clock.
        seconds: until its end.
        received: bytes of its body.
        problem: what was wrong with it; None where it was right.
    """

    began: float
    seconds: float
    received: int
    problem: str | None


@dataclass(slots=True)
class Load:
    """Pulls that go on."""

    pulled: list[Pulled] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """What was wrong with those that were."""
        return [each.problem for each in list(self.pulled) if each.problem is not None]

    @property
    def received(self) -> int:
        """Bytes of all bodies."""
        return sum(each.received for each in list(self.pulled))

    def quantile(self, share: float, since: float = 0.0) -> float:
        """Seconds within which such a share of those ended that began since then."""
        times = sorted(each.seconds for each in list(self.pulled) if each.began >= since)
        return times[min(len(times) - 1, int(share * len(times)))]


@contextmanager
def load(wishes: Sequence[Sequence[Wish]], rate: float) -> Iterator[Load]:
    """Pulls until the context ends; the last ones are waited for.

    Args:
        wishes: of each client, which asks for one after the other, again and again.
        rate: pulls of each client in a second, at most: it waits for each answer.
    """
    made, ended = Load(), threading.Event()
    clients = [
        threading.Thread(target=_client, args=(made, ended, each, 1 / rate)) for each in wishes
    ]
    for client in clients:
        client.start()
    try:
        yield made
    finally:
        ended.set()
        for client in clients:
            client.join()


def _client(made: Load, ended: threading.Event, wishes: Sequence[Wish], every: float) -> None:
    due, turn = time.monotonic(), 0
    while not ended.is_set():
        made.pulled.append(pulled(wishes[turn % len(wishes)]))
        turn += 1
        due = max(due + every, time.monotonic() - every)
        ended.wait(max(0.0, due - time.monotonic()))


def pulled(wish: Wish) -> Pulled:
    """What comes of a pull over a connection of its own."""
    began, received, problem = time.monotonic(), 0, None
    connection = http.client.HTTPConnection(*wish.address, timeout=_TIMEOUT)
    hasher = hashlib.sha256()
    try:
        connection.request("GET", wish.target)
        answer = connection.getresponse()
        while part := answer.read(1 << 18):
            hasher.update(part)
            received += len(part)
        if answer.status != 200:
            problem = f"{wish.target}: {answer.status}"
        elif f"sha256:{hasher.hexdigest()}" != wish.digest:
            problem = f"{wish.target}: wrong bytes"
    except (OSError, http.client.HTTPException) as error:
        problem = f"{wish.target}: {error!r}"
    finally:
        connection.close()
    return Pulled(began, time.monotonic() - began, received, problem)
