import datetime as dt
import time
from pathlib import Path

import pytest
import trustme

from cacheproxy.doctor.certificate import check_certificate
from cacheproxy.doctor.findings import Finding
from cacheproxy.settings import TlsSettings

NOW = time.time()
DAY = 86400.0


def _files(tmp_path: Path, days: float = 90.0, since: float = -200.0) -> TlsSettings:
    begin, end = (dt.datetime.fromtimestamp(NOW + each * DAY, dt.UTC) for each in (since, days))
    issued = trustme.CA().issue_cert("cache.example.com", not_before=begin, not_after=end)
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return TlsSettings(certificate, key)


def _found(tls: TlsSettings | None) -> Finding:
    return check_certificate(tls, NOW)[0]


def test_a_certificate_that_is_right(tmp_path: Path) -> None:
    """It says until when, and for which names."""
    dated, named = check_certificate(_files(tmp_path), NOW)
    assert (dated.state, named.state) == ("ok", "ok")
    assert "valid until" in dated.said
    assert "cache.example.com" in named.said


@pytest.mark.parametrize(
    ("days", "since", "state", "said", "advice"),
    [
        (-1.0, -100.0, "failed", "has expired", "renew it"),
        (13.0, -100.0, "warning", "less than 14 days", "renew it"),
        (15.0, -100.0, "ok", "valid until", ""),
        (90.0, 1.0, "failed", "not valid yet", "clock"),
    ],
)
def test_its_days_are_counted(
    tmp_path: Path, days: float, since: float, state: str, said: str, advice: str
) -> None:
    """One that has expired is read too; one that soon will is a warning."""
    found = _found(_files(tmp_path, days, since))
    assert (found.state, said in found.said) == (state, True)
    assert advice in found.advice


def test_another_certificate_s_key(tmp_path: Path) -> None:
    """A key that does not match is said to be that."""
    tls = _files(tmp_path)
    tls.key.write_bytes(trustme.CA().issue_cert("a.example").private_key_pem.bytes())
    found = _found(tls)
    assert (found.state, "is not the key of" in found.said) == ("failed", True)
    assert "belong together" in found.advice


def test_what_is_no_certificate(tmp_path: Path) -> None:
    """Neither rubbish nor a file that is not there is a surprise."""
    tls = _files(tmp_path)
    tls.certificate.write_text("hello")
    found = _found(tls)
    assert (found.state, "must be PEM" in found.advice) == ("failed", True)
    tls.certificate.unlink()
    found = _found(tls)
    assert (found.state, "cannot be read" in found.said) == ("failed", True)
    assert "may read them" in found.advice


def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    """The server could not read it either; the terminal is not asked for the password."""
    from cryptography.hazmat.primitives import serialization

    tls = _files(tmp_path)
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    tls.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    found = _found(tls)
    assert (found.state, "unencrypted" in found.advice) == ("failed", True)


def test_who_may_connect_is_looked_at(tmp_path: Path) -> None:
    """A `client_ca` that is none keeps the server from starting."""
    tls = _files(tmp_path)
    found = _found(TlsSettings(tls.certificate, tls.key, tmp_path / "none.pem"))
    assert (found.state, "server.tls.client_ca" in found.advice) == ("failed", True)


def test_without_tls_there_is_nothing_to_look_at() -> None:
    """Plain HTTP is no failure."""
    assert _found(None).state == "skipped"
