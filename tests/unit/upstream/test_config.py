import ssl
from functools import partial
from pathlib import Path

import pytest
import trustme
from yarl import URL

from cacheproxy.domain.errors import StartError
from cacheproxy.ports import Clock
from cacheproxy.upstream.config import CredentialsConfig, UpstreamConfig, tls_context
from cacheproxy.upstream.credentials.fixed import Fixed
from cacheproxy.upstream.credentials.login import Login


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of our own."""
    return trustme.CA()


def _pem(path: Path, blob: trustme.Blob) -> Path:
    blob.write_to_path(str(path))
    return path


def test_the_system_is_trusted_by_default() -> None:
    """Without files the system's certificates are asked for, and host names are checked."""
    context = tls_context(None, None, insecure=False)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_ca_file_is_trusted_beside_the_system(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a CA file that authority is trusted as well as the system's."""
    system = _pem(tmp_path / "system.pem", trustme.CA().cert_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    context = tls_context(_pem(tmp_path / "ca.pem", authority.cert_pem), None, insecure=False)
    assert len(context.get_ca_certs()) == 2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_insecure_is_insecure() -> None:
    """Where the operator says so, nothing is verified."""
    context = tls_context(None, None, insecure=True)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_a_client_certificate_is_loaded(tmp_path: Path, authority: trustme.CA) -> None:
    """A certificate and its key are taken from their files; a key of another one is refused."""
    ours, other = authority.issue_cert("proxy.example"), authority.issue_cert("other.example")
    certificate = _pem(tmp_path / "cert.pem", ours.cert_chain_pems[0])
    key = _pem(tmp_path / "key.pem", ours.private_key_pem)
    wrong = _pem(tmp_path / "wrong.pem", other.private_key_pem)
    tls_context(None, (certificate, key), insecure=False)
    with pytest.raises(StartError) as caught:
        tls_context(None, (certificate, wrong), insecure=False)
    assert str(certificate) in str(caught.value)
    assert str(wrong) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A CA file that is missing or is none ends the start with its name."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartError, match=r"ca\.pem cannot be used"):
        tls_context(path, None, insecure=False)


def _given(source: Fixed, _: Clock) -> Fixed:
    return source


def test_a_configuration_does_not_show_its_login() -> None:
    """What is logged of an upstream has neither its user nor its password."""
    source = Fixed(Login("me", "secret"))
    credentials = (CredentialsConfig("r.example's credentials", partial(_given, source)),)
    config = UpstreamConfig("r.example", URL("https://r.example"), credentials)
    assert "secret" not in repr(config)
    assert "'me'" not in repr(config)
