"""What is measured: a cold blob for many clients, then manifests and a blob that are warm."""

import re
import time
from collections.abc import Callable

from bench.measured import Measured
from bench.subjects import Subject
from bench.upstream import REPOSITORY, Upstream, blob_target
from tests.support import images
from tests.support.parts import wire
from tests.support.parts.program import run
from tests.support.parts.swarm import Pull, pull_all

_CONNECTIONS = 32
_STREAMS = 8
_LONG = 600.0  # seconds: many clients of a subject that fetches for each of them
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")

# By row, then by subject.
Table = dict[str, dict[str, Measured]]


class BenchError(Exception):
    """A subject did not do what was to be measured."""


class Cases:
    """All cases, and what they have shown so far."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.table: Table = {}

    def note(
        self, row: str, column: str, value: float, unit: str = "", *, most: bool = False
    ) -> None:
        """Adds a round's value."""
        cells = self.table.setdefault(row, {})
        cells.setdefault(column, Measured(unit, most)).rounds.append(value)

    def prepare(self, subject: Subject) -> None:
        """Asks for the manifest, as clients do before they ask for blobs."""
        url = f"http://{subject.address[0]}:{subject.address[1]}/v2/{REPOSITORY}/manifests/1"
        answer = wire.get(url, headers={"Accept": images.OCI_MANIFEST})
        _expect(answer.status == 200, f"{subject.name}: {answer.status} {answer.body!r}")

    def cold(self, subject: Subject, clients: int, layer: int) -> None:
        """A blob that the subject does not have, for so many clients at once."""
        upstream, target = self._upstream, blob_target(self._upstream.image, layer)
        direct, crossed_once = upstream.direct(target)
        before = upstream.received()
        pulls = [Pull(target, hashed=not number) for number in range(clients)]
        pull_all(subject.address, pulls, deadline=_LONG)
        upstream.settle()
        crossed = upstream.received() - before
        broken = sum(not pull.whole for pull in pulls)
        _expect(broken == 0, f"{subject.name}: {broken} of {clients} clients did not get it whole")
        right = upstream.image.layers[layer].digest
        _expect(pulls[0].digest == right, f"{subject.name}: wrong bytes")
        row = f"cold blob, {clients} client{'s' if clients > 1 else ''}: "
        if upstream.link:
            self.note(row + "amplification", subject.name, crossed / crossed_once, "x")
        slowest = max(pull.seconds for pull in pulls)
        self.note(row + "last ÷ direct", subject.name, slowest / direct.seconds, "x")
        waited = max(pull.first_byte or 0.0 for pull in pulls)
        self.note(row + "first byte", subject.name, waited * 1000, "ms")
        self.note(row + "first byte", "direct", (direct.first_byte or 0.0) * 1000, "ms")
        self.note(row + "last", subject.name, slowest, "s")
        self.note(row + "last", "direct", direct.seconds, "s")

    def manifests(self, subject: Subject, reference: str, named: str, seconds: float) -> None:
        """Requests per second for the manifest, by tag or by digest."""
        host, port = subject.address
        said = run(
            [
                *("wrk", "--threads", "1", "--connections", str(_CONNECTIONS)),
                *("--duration", f"{seconds:.0f}s", "--header", f"Accept: {images.OCI_MANIFEST}"),
                f"http://{host}:{port}/v2/{REPOSITORY}/manifests/{reference}",
            ]
        ).decode()
        found = _RATE.search(said)
        if found is None or "Non-2xx" in said:
            raise BenchError(f"{subject.name}: {said}")
        self.note(f"warm manifest by {named}", subject.name, float(found[1]), "/s", most=True)

    def warm_blob(self, subject: Subject, layer: int, seconds: float) -> None:
        """Bytes per second of a blob that is here, for a few connections, and what they cost."""
        target = blob_target(self._upstream.image, layer)
        pull_all(subject.address, [Pull(target)], deadline=_LONG)
        processor, begun = subject.processor_seconds(), time.monotonic()
        pulls = pull_all(
            subject.address,
            [Pull(target, hashed=False) for _ in range(_STREAMS)],
            then=_again(target, begun + seconds),
            deadline=_LONG,
        )
        took = time.monotonic() - begun
        _expect(all(pull.whole for pull in pulls), f"{subject.name}: a warm blob broke off")
        served = sum(pull.received for pull in pulls) / 1e9
        self.note("warm blob", subject.name, served / took, "GB/s", most=True)
        cost = (subject.processor_seconds() - processor) / served
        self.note("warm blob: processor", subject.name, cost, "s/GB")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BenchError(otherwise)


def _again(target: str, end: float) -> Callable[[Pull], Pull | None]:
    return lambda _: Pull(target, hashed=False) if time.monotonic() < end else None
