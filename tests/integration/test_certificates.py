"""Certificates of the pull port that are renewed while it serves."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from cacheproxy.bootstrap import watching
from cacheproxy.settings.model import TlsSettings
from tests.support.hasty import HastyProxy, Wanted, hasty_proxy
from tests.support.logged import Log
from tests.support.scripted_registry import ScriptedRegistry


async def _shown(proxy: HastyProxy) -> bytes:
    """The certificate that a client sees."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = proxy.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


async def test_a_renewed_certificate_is_shown(
    log: Log, hub: ScriptedRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once both files are new; half of the change is refused, and the old pair stays in use."""
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.05)
    ca = trustme.CA()
    first, second = ca.issue_cert("127.0.0.1"), ca.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    first.cert_chain_pems[0].write_to_path(str(certificate))
    first.private_key_pem.write_to_path(str(key))
    wanted = Wanted(server={"tls": TlsSettings(certificate, key)})
    async with hasty_proxy({"docker.io": hub}, tmp_path / "cache", wanted) as proxy:
        before = await _shown(proxy)
        second.cert_chain_pems[0].write_to_path(str(certificate))
        async with asyncio.timeout(60):
            while "certificates not renewed" not in log.text:  # noqa: ASYNC110  # it is logged
                await asyncio.sleep(0.01)
        assert await _shown(proxy) == before
        second.private_key_pem.write_to_path(str(key))
        async with asyncio.timeout(60):
            while "certificates renewed" not in log.text:  # noqa: ASYNC110  # it is logged
                await asyncio.sleep(0.01)
        after = await _shown(proxy)
    pem = second.cert_chain_pems[0].bytes().decode()
    assert ssl.PEM_cert_to_DER_cert(pem) == after != before
