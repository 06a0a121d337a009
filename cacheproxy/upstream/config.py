"""What a registry's client needs to know."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from cacheproxy.domain.errors import StartError
from cacheproxy.upstream.auth import Login


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """One upstream.

    Attributes:
        registry: its canonical name, such as `docker.io`.
        url: its API's root without `/v2/`; may have a path.
        login: None to be anonymous.
        realms: hosts that may be sent the login for tokens, besides those of its domain.
        tls: how to verify it, and what to show it.
        proxy: an HTTP proxy on the way to it.
        max_connections: at once, for blobs; as many again for everything else.
        connect_timeout: seconds until a connection stands.
        answer_timeout: seconds until an answer's head; all of a small answer, twice as long.
        idle_timeout: seconds without a byte within a blob.
    """

    registry: str
    url: URL
    login: Login | None = None
    realms: frozenset[str] = field(default_factory=frozenset)
    tls: ssl.SSLContext | bool = True
    proxy: URL | None = None
    max_connections: int = 32
    connect_timeout: float = 5.0
    answer_timeout: float = 10.0
    idle_timeout: float = 30.0


def tls_context(
    ca_file: Path | None, certificate: tuple[Path, Path] | None, *, insecure: bool
) -> ssl.SSLContext:
    """How to speak TLS to an upstream.

    Args:
        ca_file: trusted instead of the system's certificates.
        certificate: of the client, and its key.
        insecure: accept any certificate.

    Raises:
        StartError: a file is missing or is not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(str(path) for path in (ca_file, *(certificate or ())) if path)
        raise StartError(f"the certificates {named} cannot be used: {error}") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
