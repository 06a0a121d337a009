"""The words for failed connections: the one table from a library's exceptions to sentences.

A message never repeats an exception's own text, which may hold a signed URL or a password, nor
its class name, which says nothing to an operator.
"""

import errno
import os
import socket
import ssl
from dataclasses import dataclass

import aiohttp

# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH and
# X509_V_ERR_CERT_HAS_EXPIRED.
_OTHER_NAME = frozenset({62, 64})
_EXPIRED = 10
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


@dataclass(frozen=True, slots=True)
class Explanation:
    """A failure in words.

    Attributes:
        what: went wrong.
        advice: what an operator of the upstream can do; empty if that is unknown.
    """

    what: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.advice}" if self.advice else self.what


def explain_failure(error: BaseException) -> Explanation:
    """Return what went wrong with a connection and, where that is known, what to do."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return Explanation(f"the proxy on the way answered {error.status}", "check `proxy_url`")
        case aiohttp.ClientProxyConnectionError():
            what = explain_failure(error.os_error).what
            return Explanation(f"the proxy on the way: {what}", "check `proxy_url`")
        case aiohttp.ClientConnectorDNSError():
            return _explain_resolution(error.os_error)
        case aiohttp.ClientConnectorError():
            return explain_failure(error.os_error)
        case ssl.SSLError():
            return _explain_tls(error)
        case socket.gaierror():
            return _explain_resolution(error)
        case OSError() if error.errno is not None and error.errno > 0:
            return _explain_system(error.errno)
        case _:
            return _explain_kind(error)


def _explain_kind(error: BaseException) -> Explanation:
    for kind, explanation in _KINDS:
        if isinstance(error, kind):
            return explanation
    return Explanation("the request failed")


_KINDS: tuple[tuple[type[BaseException], Explanation], ...] = (
    (TimeoutError, Explanation("no answer in time")),
    (
        aiohttp.ServerDisconnectedError,
        Explanation("the server closed the connection without an answer"),
    ),
    (aiohttp.ClientPayloadError, Explanation("the answer broke off")),
    (aiohttp.InvalidURL, Explanation("the answer leads to an address that is no URL")),
    (aiohttp.NonHttpUrlClientError, Explanation("the answer leads to an address that is no URL")),
    (
        aiohttp.ClientResponseError,
        Explanation("the answer is not HTTP", "check the scheme and the port of its `url`"),
    ),
    (OSError, Explanation("the connection failed")),
    (ValueError, Explanation("the answer cannot be understood")),
)


def _explain_resolution(error: OSError) -> Explanation:
    if error.errno == socket.EAI_AGAIN:
        what = "its name cannot be resolved at the moment (DNS)"
        return Explanation(what, "check this machine's resolver")
    return Explanation("no such host (DNS)", "check its `url`, and this machine's resolver")


def _explain_tls(error: ssl.SSLError) -> Explanation:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(getattr(error, "verify_code", 0))
    reason = getattr(error, "reason", None) or ""
    if reason in _NO_TLS:
        advice = "write http:// in its `url` if that is right"
        return Explanation("TLS: the server does not speak it", advice)
    return Explanation(f"TLS: {reason.lower().replace('_', ' ') or 'the handshake failed'}")


def _explain_certificate(code: int) -> Explanation:
    if code in _OTHER_NAME:
        return Explanation("TLS: its certificate is for another name", "check its `url`")
    if code == _EXPIRED:
        advice = "renew it, or set this machine's clock"
        return Explanation("TLS: its certificate has expired", advice)
    what = "TLS: no known authority has signed its certificate"
    return Explanation(what, "add that authority to `ca_file`")


def _explain_system(code: int) -> Explanation:
    what = os.strerror(code).lower()
    if code == errno.ECONNREFUSED:
        return Explanation(f"{what}, nothing listens there", "check its `url`")
    if code in _NO_ROUTE:
        return Explanation(what, "check the network between, or set `proxy_url`")
    return Explanation(what)
