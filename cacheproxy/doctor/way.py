"""What failures of TLS, and answers to `/v2/`, come from, and what to do about them."""

import ssl

from yarl import URL

from cacheproxy.doctor.findings import Finding

# By OpenSSL's numbers of what is wrong with a certificate (X509_V_ERR_…).
_NOT_YET, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_ANOTHER_NAME = frozenset({62, 63, 64})


def of_tls(error: OSError, key: str, url: URL) -> tuple[str, str]:
    """What a failure to speak TLS comes from, and what to do.

    Args:
        error: what came.
        key: of the upstream's settings.
        url: that was spoken to.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_certificate(error, key, url)
    reason = str(getattr(error, "reason", "") or "")
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        said = f"what listens at port {url.port} does not speak TLS"
        return said, f"write http:// in {key}.url if that is meant, or the port that does"
    if "CERTIFICATE_REQUIRED" in reason:
        advice = f"name one in {key}.client_certificate"
        return "it wants to see a certificate of ours", advice
    if isinstance(error, ssl.SSLError):
        advice = "see which versions of TLS it speaks, and what is on the way to it"
        return f"no TLS with it: {reason.lower().replace('_', ' ') or 'no reason given'}", advice
    advice = f"a firewall on the way may cut TLS; or {key}.url names a port that is not for it"
    return "it ends the connection instead of speaking TLS", advice


def _of_certificate(error: ssl.SSLCertVerificationError, key: str, url: URL) -> tuple[str, str]:
    match error.verify_code:
        case code if code == _EXPIRED:
            return (
                "its certificate has expired",
                "who runs it must renew it; if that is not so, set this machine's clock",
            )
        case code if code == _NOT_YET:
            return "its certificate is not valid yet", "set this machine's clock"
        case code if code in _UNKNOWN_AUTHORITY:
            return (
                "nobody whom this machine trusts vouches for its certificate",
                f"name the PEM of its authority in {key}.ca_file; if it should be a well-known "
                "one, install ca-certificates, or see who intercepts TLS on the way",
            )
        case code if code in _ANOTHER_NAME:
            return (
                f"its certificate is not for {url.host}",
                f"write the name that it is for in {key}.url; or something else answers there",
            )
        case _:
            return f"its certificate is not accepted: {error.verify_message}", "have it renewed"


def answered(name: str, key: str, status: int, location: str | None) -> Finding:
    """What an answer to `/v2/` means.

    Args:
        name: of the finding.
        key: of the upstream's settings.
        status: of the answer.
        location: where it redirects to.
    """
    match status:
        case 200:
            return Finding(name, "ok", "a registry answers, and asks for no login here")
        case 401:
            return Finding(name, "ok", "a registry answers, and asks for a login or a token")
        case 429:
            said = "it limits how often this address may ask (429)"
            advice = f"wait, or log in: {key}.credentials; docs/outages.md says what is served"
            return Finding(name, "warning", said, advice)
        case 407:
            said = "the proxy on the way wants a login (407)"
            return Finding(name, "failed", said, f"put user and password into {key}.proxy_url")
        case _ if 300 <= status < 400:
            host = _host(location)
            said = f"it sends on to {host or 'elsewhere'} ({status})"
            return Finding(name, "failed", said, f"write the address of the API in {key}.url")
        case 403:
            said = "it refuses this machine, whoever it says it is (403)"
            advice = "see which addresses it lets in, and what is on the way to it"
            return Finding(name, "failed", said, advice)
        case _ if status >= 500:
            said = f"it is in trouble ({status})"
            advice = "see its status page, or what runs it; until then what is cached is served"
            return Finding(name, "failed", said, advice)
        case _:
            said = f"no registry answers there ({status})"
            return Finding(name, "failed", said, f"see that {key}.url is where its API is")


def _host(location: str | None) -> str | None:
    """Of a redirect, no more: the rest may be signed, and so a secret."""
    try:
        return URL(location).host if location else None
    except ValueError:
        return None
