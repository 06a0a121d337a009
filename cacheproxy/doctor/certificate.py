"""The server's certificate, as its clients will see it."""

import ssl
from datetime import UTC, datetime

from cacheproxy.doctor.findings import Finding
from cacheproxy.settings.model import TlsSettings

_NAME = "certificate"
_SOON = 14 * 86400.0
# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which `ssl` has no name: an expired one is read too.
_ANY_TIME = 0x200000
_STEPS = 10


def check_certificate(tls: TlsSettings | None, now: float) -> list[Finding]:
    """Look at the files of `server.tls`.

    Args:
        tls: None: the server speaks plain HTTP.
        now: seconds since the epoch.
    """
    if tls is None:
        return [Finding(_NAME, "skipped", "server.tls is not set: the server speaks plain HTTP")]
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # With a password at hand: else OpenSSL would ask for one at the terminal.
        server.load_cert_chain(tls.certificate, tls.key, password=lambda: b"\0")
    except (OSError, ValueError) as error:
        return [_unusable(tls, error)]
    findings = []
    if tls.client_ca is not None:
        try:
            ssl.create_default_context(cafile=tls.client_ca)
        except OSError as error:
            said = f"{tls.client_ca} cannot be used: {error.strerror or error}"
            findings.append(Finding(_NAME, "failed", said, "set server.tls.client_ca to PEM"))
    try:
        shown = _shown(server, tls)
    except (OSError, ValueError) as error:
        said = f"{tls.certificate} cannot be read: {error}"
        return [*findings, Finding(_NAME, "failed", said, "have it issued anew")]
    return [*findings, _dated(shown, now), _named(shown)]


def _unusable(tls: TlsSettings, error: OSError | ValueError) -> Finding:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        said = f"{tls.key} is not the key of {tls.certificate}"
        return Finding(_NAME, "failed", said, "set server.tls to two files that belong together")
    if isinstance(error, (ssl.SSLError, ValueError)):
        said = f"{tls.certificate} and {tls.key} cannot be used"
        advice = "both must be PEM, the certificate with its intermediates, the key unencrypted"
        return Finding(_NAME, "failed", said, advice)
    named = " or ".join(str(path) for path in (tls.certificate, tls.key))
    said = f"{named} cannot be read: {error.strerror}"
    advice = "see that both are there and that the server's user may read them"
    return Finding(_NAME, "failed", said, advice)


def _shown(server: ssl.SSLContext, tls: TlsSettings) -> dict[str, object]:
    """What a client reads in the certificate; it believes it as if it were an authority."""
    client = ssl.create_default_context(cafile=tls.certificate)
    client.check_hostname = False
    # Nothing stricter, as newer Pythons have it: most clients are not.
    client.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | _ANY_TIME)
    upwards, downwards = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(downwards, upwards)
    answers = server.wrap_bio(upwards, downwards, server_side=True)
    for _ in range(_STEPS):
        if all([_advanced(asks), _advanced(answers)]):
            break
    return dict(asks.getpeercert() or {})


def _advanced(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _dated(shown: dict[str, object], now: float) -> Finding:
    begins = ssl.cert_time_to_seconds(str(shown.get("notBefore")))
    ends = ssl.cert_time_to_seconds(str(shown.get("notAfter")))
    day = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%d %H:%M UTC")
    renew = "renew it, and restart the server, which reads it at start only"
    if now >= ends:
        return Finding(_NAME, "failed", f"it has expired, on {day}", renew)
    if now < begins:
        return Finding(_NAME, "failed", "it is not valid yet", "set this machine's clock, or wait")
    if ends - now < _SOON:
        return Finding(_NAME, "warning", f"it expires on {day}, in less than 14 days", renew)
    return Finding(_NAME, "ok", f"matches its key, and is valid until {day}")


def _named(shown: dict[str, object]) -> Finding:
    name = f"{_NAME}: names"
    entries = shown.get("subjectAltName")
    found = [str(value) for _, value in entries] if isinstance(entries, tuple) else []
    if found:
        return Finding(name, "ok", f"it is for {', '.join(found)}; clients must use one of these")
    return Finding(
        name,
        "failed",
        "it has no name (subjectAltName), so no client accepts it",
        "have it issued for the name that clients use",
    )
