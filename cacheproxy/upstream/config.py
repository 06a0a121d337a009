"""What a registry's client needs to know."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from cacheproxy.domain.breaker import BreakerPolicy
from cacheproxy.domain.errors import StartError
from cacheproxy.ports import Clock
from cacheproxy.upstream.credentials.login import Source
from cacheproxy.upstream.trust import realm_may_have_credentials


@dataclass(frozen=True, slots=True)
class CredentialsConfig:
    """One way of proving who we are.

    Attributes:
        name: for messages, such as `docker.io's credentials (ecr)`.
        make: the source of the login, by the clock that it is to go by.
    """

    name: str
    make: Callable[[Clock], Source]


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One upstream.

    Attributes:
        registry: its canonical name, such as `docker.io`.
        url: its API's root without `/v2/`; may have a path.
        credentials: in the order in which they are to be used; none to be anonymous.
        realms: hosts that may be sent a login for tokens, besides those of its domain.
        redirect_hosts: hosts that redirects may lead to, wherever they are.
        tls: how to verify it and its token server, and what to show them.
        tls_elsewhere: how to verify other hosts: mirrors, and where redirects lead. It shows
            nothing.
        proxy: an HTTP proxy on the way to it.
        max_connections: at once, for blobs; as many again for everything else.
        connect_timeout: seconds until a connection stands.
        answer_timeout: seconds until an answer's head; all of a small answer, twice as long.
        queue_timeout: seconds that a small request waits for one of our connections; less than
            a client waits for its response, so that it is told why.
        idle_timeout: seconds without a byte within a blob.
        breaker: when to give it a rest.
        ratelimit_reserve: pulls that are kept for what is not cached.
        mirrors: URLs of other places to have it from, asked first, in this order, anonymously.
        offline: it is never asked.
        max_bandwidth: bytes per second that its blobs take at most; None: as many as come.
        patience: seconds after which it is taken for silent, if it answers nobody meanwhile.
        mirror: the host of the mirror that this is, of the registry; empty if it is none.
    """

    registry: str
    url: URL
    credentials: tuple[CredentialsConfig, ...] = ()
    realms: frozenset[str] = field(default_factory=frozenset)
    redirect_hosts: frozenset[str] = field(default_factory=frozenset)
    tls: ssl.SSLContext | bool = True
    tls_elsewhere: ssl.SSLContext | bool = True
    proxy: URL | None = None
    max_connections: int = 32
    connect_timeout: float = 5.0
    answer_timeout: float = 10.0
    queue_timeout: float = 20.0
    idle_timeout: float = 30.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    ratelimit_reserve: int = 10
    mirrors: tuple[URL, ...] = ()
    offline: bool = False
    max_bandwidth: int | None = None
    patience: float = 3.0
    mirror: str = ""

    @property
    def place(self) -> str:
        """What to call it, where a mirror must not be taken for the registry."""
        return f"{self.registry} (mirror {self.mirror})" if self.mirror else self.registry

    def tls_for(self, url: URL) -> ssl.SSLContext | bool:
        """Return how to speak TLS to a host; only the upstream's own see a certificate of ours."""
        if self.tls is self.tls_elsewhere:
            return self.tls
        is_own = realm_may_have_credentials(url, self.url, self.realms)
        return self.tls if is_own else self.tls_elsewhere


def tls_context(
    ca_file: Path | None, certificate: tuple[Path, Path] | None, *, insecure: bool
) -> ssl.SSLContext:
    """Return how to speak TLS to an upstream.

    Args:
        ca_file: trusted beside the system's certificates.
        certificate: of the client, and its key.
        insecure: accept any certificate.

    Raises:
        StartError: a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context()
        if ca_file is not None:
            context.load_verify_locations(ca_file)
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in (ca_file, *(certificate or ())) if path)
        raise StartError(f"the certificates {named} cannot be used: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
