"""Several proxies as one cache: replicas, each on a machine of its own as far as it can tell."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.parts import exposition
from tests.support.parts.lan import Lan, Seat, seat
from tests.support.parts.proxy import Proxy
from tests.support.parts.scratch import scratch
from tests.support.parts.swarm import Address

PEERS = 5002
SECRET = "shared by the tests' replicas"

Settings = Mapping[str, Any]


class Replica:
    """A proxy with a directory of its own, which it finds again when it is started again."""

    def __init__(self, seat: Seat, directory: Path, settings: Settings) -> None:
        self.seat = seat
        self.directory = directory
        self.cache = directory / "cache"
        self._settings = settings
        self._starts = 0
        self._proxy: Proxy | None = None

    @property
    def proxy(self) -> Proxy:
        """As it was last started."""
        assert self._proxy is not None, "it was never started"
        return self._proxy

    @property
    def address(self) -> Address:
        """Where it serves clients."""
        return self.seat.address, self.proxy.port

    @property
    def peer_address(self) -> str:
        """Where it serves other replicas."""
        return f"{self.seat.address}:{PEERS}"

    def start(self, **cluster: Any) -> None:
        """Starts it; returns when it serves.

        Args:
            cluster: settings of that section which are another replica's not.
        """
        self._starts += 1
        output = self.directory / f"{self._starts}"
        output.mkdir(parents=True)
        section = {"advertise": self.peer_address, "secret": SECRET}
        settings = {
            "cache": {"directory": str(self.cache), "min_free": "1B"},
            "cluster": section | dict(self._settings.get("cluster", {})) | cluster,
        }
        self._proxy = Proxy(output, dict(self._settings) | settings, place=self.seat)

    def abandon(self) -> None:
        """Stops it without a word about how it ended, if it was ever started."""
        if self._proxy is not None:
            self._proxy.go_on()
            self._proxy.abandon()

    def counted(self, name: str, **labels: str) -> float:
        """What a metric counts, over all other labels."""
        return sum(
            value
            for (found, having), value in exposition.samples(self.proxy.admin_url).items()
            if found == name and labels.items() <= dict(having).items()
        )


@dataclass(slots=True)
class Fleet:
    """Replicas that are one cache."""

    replicas: Sequence[Replica] = field(default_factory=list)

    def counts(self, name: str, **labels: str) -> list[float]:
        """What a metric counts at each of them."""
        return [replica.counted(name, **labels) for replica in self.replicas]

    def total(self, name: str, **labels: str) -> float:
        """What a metric counts at all of them."""
        return sum(self.counts(name, **labels))


@contextmanager
def fleet(lan: Lan, settings: Settings, size: int = 4) -> Iterator[Fleet]:
    """So many replicas, all started.

    Args:
        lan: where they, their upstream and their Redis are.
        settings: of each of them, but for what is its own.
        size: how many.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        replicas = [
            Replica(stack.enter_context(seat(lan)), directory / f"{number}", settings)
            for number in range(size)
        ]
        # Its threads must last: with the one that has started it a process would end too.
        pool = stack.enter_context(ThreadPoolExecutor(size))
        stack.callback(lambda: list(pool.map(Replica.abandon, replicas)))
        list(pool.map(Replica.start, replicas))
        yield Fleet(replicas)
