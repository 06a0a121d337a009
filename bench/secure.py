"""A warm blob over TLS, of one process each."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import trustme

from bench import subjects
from bench.cases import Cases
from bench.subjects import Certificate, Subject
from bench.upstream import Upstream, blob_target
from tests.support.parts.process import find
from tests.support.parts.program import run
from tests.support.parts.scratch import scratch

_STREAMS = 8
# In wrk's units, which are powers of 1,024.
_SAID = re.compile(
    r"(?P<requests>\d+) requests in [\d.]+\w+, (?P<read>[\d.]+)(?P<unit>[KMG]B) read"
)
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}
_RATE = re.compile(r"Transfer/sec:\s+(?P<read>[\d.]+)(?P<unit>[KMG]B)")


def measure(up: Upstream, rounds: int, seconds: float) -> tuple[Cases, list[str]]:
    """What each has sent, and what it cost; and their names."""
    cases = Cases(up)
    with ExitStack() as stack:
        tls = stack.enter_context(_certificate())
        running = [stack.enter_context(subjects.cacheproxy(up.url, 1, tls))]
        if find("nginx") is not None:
            running.append(stack.enter_context(subjects.nginx(up.url, 1, tls)))
        for subject in running:
            _blob(subject, up, 1.0)  # so that it is here
        for _ in range(rounds):
            for subject in running:
                sent, rate, cost = _blob(subject, up, seconds)
                if not sent:
                    raise RuntimeError(f"{subject.name} sent nothing over TLS")
                cases.note("warm blob, TLS", subject.name, rate, "GB/s", most=True)
                cases.note("warm blob, TLS: processor", subject.name, cost, "s/GB")
    return cases, [subject.name for subject in running]


def _blob(subject: Subject, up: Upstream, seconds: float) -> tuple[float, float, float]:
    """GB that were sent, GB/s, and seconds of processor time for each."""
    host, port = subject.secure or subject.address
    before = subject.processor_seconds()
    said = run(
        [
            *("wrk", "--threads", "1", "--connections", str(_STREAMS)),
            *("--duration", f"{seconds:.0f}s", "--timeout", "60s"),
            f"https://{host}:{port}{blob_target(up.image, 0)}",
        ]
    ).decode()
    spent = subject.processor_seconds() - before
    total, rate = _SAID.search(said), _RATE.search(said)
    if total is None or rate is None or "Non-2xx" in said:
        raise RuntimeError(f"{subject.name}: {said}")
    sent = _gigabytes(total)
    return sent, _gigabytes(rate), spent / sent if sent else 0.0


def _gigabytes(found: re.Match[str]) -> float:
    return float(found["read"]) * _UNITS[found["unit"]] / 1e9


@contextmanager
def _certificate() -> Iterator[Certificate]:
    issued = trustme.CA().issue_cert("127.0.0.1")
    with scratch() as directory:
        certificate, key = directory / "certificate.pem", directory / "key.pem"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        yield Certificate(str(certificate), str(key))
