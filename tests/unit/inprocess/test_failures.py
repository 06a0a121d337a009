"""Failures of connections in an operator's words."""

import errno
import inspect
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from cacheproxy.inprocess.failures import explain_failure

_URL = URL("https://cdn.example/blob?X-Amz-Signature=secret")
_KEY = ConnectionKey("r.test", 443, True, True, None, None, None)
_REQUEST = aiohttp.RequestInfo(_URL, "GET", None, _URL)  # type: ignore[arg-type]  # no headers needed
_REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def _certificate(code: int) -> ssl.SSLCertVerificationError:
    made = ssl.SSLCertVerificationError(1, "certificate verify failed")
    made.verify_code = code
    return made


def _tls(reason: str) -> ssl.SSLError:
    made = ssl.SSLError(1, "x")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            aiohttp.ClientConnectorDNSError(_KEY, socket.gaierror(socket.EAI_NONAME, "x")),
            "no such host (DNS); check its `url`, and this machine's resolver",
            id="no such name",
        ),
        pytest.param(
            aiohttp.ClientConnectorDNSError(_KEY, OSError(None, "x")),
            "no such host (DNS); check its `url`, and this machine's resolver",
            id="no name, without a number",
        ),
        pytest.param(
            socket.gaierror(socket.EAI_AGAIN, "x"),
            "its name cannot be resolved at the moment (DNS); check this machine's resolver",
            id="no resolver",
        ),
        pytest.param(
            aiohttp.ClientConnectorError(_KEY, _REFUSED),
            "connection refused, nothing listens there; check its `url`",
            id="refused",
        ),
        pytest.param(
            aiohttp.ClientProxyConnectionError(_KEY, _REFUSED),
            "the proxy on the way: connection refused, nothing listens there; check `proxy_url`",
            id="the proxy",
        ),
        pytest.param(
            aiohttp.ClientHttpProxyError(_REQUEST, (), status=407),
            "the proxy on the way answered 407; check `proxy_url`",
            id="the proxy's refusal",
        ),
        pytest.param(
            aiohttp.ClientConnectorError(_KEY, OSError(errno.EHOSTUNREACH, "x")),
            "no route to host; check the network between, or set `proxy_url`",
            id="no route",
        ),
        pytest.param(
            aiohttp.ClientConnectorCertificateError(_KEY, _certificate(19)),
            "TLS: no known authority has signed its certificate; add that authority to `ca_file`",
            id="an unknown authority",
        ),
        pytest.param(
            _certificate(62),
            "TLS: its certificate is for another name; check its `url`",
            id="another name",
        ),
        pytest.param(
            _certificate(10),
            "TLS: its certificate has expired; renew it, or set this machine's clock",
            id="expired",
        ),
        pytest.param(
            _tls("WRONG_VERSION_NUMBER"),
            "TLS: the server does not speak it; write http:// in its `url` if that is right",
            id="plain HTTP",
        ),
        pytest.param(
            _tls("SSLV3_ALERT_HANDSHAKE_FAILURE"),
            "TLS: sslv3 alert handshake failure",
            id="another TLS failure",
        ),
        pytest.param(TimeoutError(), "no answer in time", id="a timeout"),
        pytest.param(OSError(), "the connection failed", id="no number"),
        pytest.param(KeyError("secret"), "the request failed", id="anything"),
    ],
)
def test_a_failure_is_said_in_words(error: BaseException, words: str) -> None:
    """A failure says what happened and what to do, for each kind that an operator can mend."""
    assert str(explain_failure(error)) == words


def _made(kind: Any) -> BaseException:
    """Return an instance, however it is made."""
    made: BaseException
    try:
        made = kind(_URL) if issubclass(kind, aiohttp.InvalidURL) else kind()
    except TypeError:
        made = kind.__new__(kind)
        made.__dict__.update(status=502, _os_error=_REFUSED)
    return made


_KINDS = [
    kind
    for module in (aiohttp, ssl, socket)
    for _, kind in inspect.getmembers(module, inspect.isclass)
    if issubclass(kind, aiohttp.ClientError | OSError)
]


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: kind.__name__)
def test_no_class_is_named(kind: type[BaseException]) -> None:
    """No failure of a library is told by its class, nor by a text that may hold a secret."""
    words = str(explain_failure(_made(kind)))
    assert kind.__name__ not in words
    assert "Error" not in words
    assert "secret" not in words
