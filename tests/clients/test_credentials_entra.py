"""Who we are to Azure without a managed identity: Microsoft Entra, as azure-identity asks it."""

import json
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme
from yarl import URL

from cacheproxy.upstream.credentials.acr import Acr, Exchange
from cacheproxy.upstream.credentials.login import NoLoginError
from tests.support.clock import FakeClock
from tests.support.egress import Egress
from tests.support.parts.endpoint import Asked, Reply, endpoint

pytestmark = pytest.mark.clients

_HOST = "login.microsoftonline.com"
_TENANT = "89abcdef-0123-4567-89ab-cdef01234567"
_CLIENT_ID = "01234567-89ab-cdef-0123-456789abcdef"
_JSON = {"Content-Type": "application/json"}
Give = Callable[[Path, pytest.MonkeyPatch], dict[str, list[str]]]


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those of the test, and no way to a metadata service."""
    for name in list(os.environ):
        if name.upper().startswith(("AZURE_", "IDENTITY_", "IMDS_", "MSI_")) or (
            name.upper().endswith(("_PROXY", "_CA_BUNDLE"))
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    # A port that nobody listens at.
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_TENANT_ID", _TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", _CLIENT_ID)


def _workload_identity(directory: Path, patch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    (directory / "token").write_text("a.service.account")
    patch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(directory / "token"))
    return {"client_assertion": ["a.service.account"]}


def _service_principal(directory: Path, patch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    patch.setenv("AZURE_CLIENT_SECRET", "s3cret-of-ours")
    return {"client_secret": ["s3cret-of-ours"]}


class _Entra:
    """What it says of itself, and tokens."""

    def __init__(self) -> None:
        self.refuses = False
        self.forms: list[dict[str, list[str]]] = []

    def answer(self, asked: Asked) -> Reply:
        own = f"https://{_HOST}/{_TENANT}"
        if asked.method == "GET":
            document = {
                "issuer": f"{own}/v2.0",
                "authorization_endpoint": f"{own}/oauth2/v2.0/authorize",
                "token_endpoint": f"{own}/oauth2/v2.0/token",
            }
            return Reply(json.dumps(document).encode(), 200, _JSON)
        self.forms.append(parse_qs(asked.body.decode()))
        if self.refuses:
            refusal = {"error": "invalid_client", "error_description": "AADSTS7000215: s3cret"}
            return Reply(json.dumps(refusal).encode(), 401, _JSON)
        token = {"access_token": "entra-s3cret", "expires_in": 3599, "token_type": "Bearer"}
        return Reply(json.dumps(token).encode(), 200, _JSON)


@pytest.mark.parametrize("refuses", [False, True], ids=["known", "refused"])
@pytest.mark.parametrize("give", [_workload_identity, _service_principal])
async def test_who_we_are_to_entra(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    give: Give,
    refuses: bool,
) -> None:
    """A pod of AKS, or a service principal, gets a token; a refusal tells and logs no secret.

    Entra is asked through the environment's proxy, the registry by its upstream's way alone.
    """
    authority, entra = trustme.CA(), _Entra()
    entra.refuses = refuses
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(_HOST).configure_cert(context)
    expected = give(tmp_path, monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with (
        endpoint(entra.answer, context) as running,
        endpoint(lambda _: Reply(b'{"refresh_token":"a"}')) as registry,
    ):
        async with Egress({f"{_HOST}:443": running.port}) as egress:
            monkeypatch.setenv("HTTPS_PROXY", egress.url)
            monkeypatch.setenv("HTTP_PROXY", egress.url)
            clock = FakeClock()
            source = Acr(Exchange(URL(registry.url)), None, clock)
            clock.advance(100)  # nobody is patient any more
            if refuses:
                with pytest.raises(NoLoginError) as caught:
                    await source.fetch()
                assert "s3cret" not in str(caught.value) + caplog.text
            else:
                login, _ = await source.fetch()
                assert login.password == "a"
            assert {asked.target for asked in egress.requests} == {f"{_HOST}:443"}
    (form,) = entra.forms
    expected |= {"client_id": [_CLIENT_ID], "grant_type": ["client_credentials"]}
    expected["scope"] = ["https://containerregistry.azure.net/.default"]
    assert form.items() >= expected.items()
    assert [parse_qs(asked.body.decode())["access_token"] for asked in registry.asked] == (
        [] if refuses else [["entra-s3cret"]]
    )
