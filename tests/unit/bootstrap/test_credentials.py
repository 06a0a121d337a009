import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cacheproxy.bootstrap.credentials import make_credentials
from cacheproxy.bootstrap.upstreams import make_config
from cacheproxy.domain.ecr_host import EcrHost
from cacheproxy.domain.errors import StartError
from cacheproxy.settings import CredentialsSettings, Secret, UpstreamSettings, load
from cacheproxy.upstream.credentials.acr import Acr, Exchange
from cacheproxy.upstream.credentials.docker_config import DockerConfig
from cacheproxy.upstream.credentials.ecr import Ecr
from cacheproxy.upstream.credentials.files import PasswordFile
from cacheproxy.upstream.credentials.fixed import Fixed
from cacheproxy.upstream.credentials.google import Google
from cacheproxy.upstream.credentials.helpers import Exec
from cacheproxy.upstream.credentials.login import Login
from tests.support.clock import FakeClock

_ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def _upstream(*several: CredentialsSettings, name: str = "quay.io") -> UpstreamSettings:
    credentials = several[0] if len(several) == 1 else several
    return UpstreamSettings(name, f"https://{name}", credentials=credentials)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        (CredentialsSettings("u", Secret("p")), Fixed),
        (CredentialsSettings("u", Secret("p", Path("/secret"))), PasswordFile),
        (CredentialsSettings(provider="docker-config"), DockerConfig),
        (CredentialsSettings(provider="exec", command=("a",)), Exec),
        (CredentialsSettings(provider="ecr", region="eu-west-1"), Ecr),
        (CredentialsSettings(provider="google"), Google),
        (CredentialsSettings(provider="acr"), Acr),
    ],
)
def test_each_provider_has_its_source(settings: CredentialsSettings, kind: type) -> None:
    """The settings of each provider become that provider's source, made anew each time."""
    (config,) = make_credentials(_upstream(settings))
    first, second = config.make(FakeClock()), config.make(FakeClock())
    assert isinstance(first, kind)
    assert first is not second or isinstance(first, Fixed)


async def test_a_login_of_the_configuration() -> None:
    """User name and password arrive as they are written."""
    (config,) = make_credentials(_upstream(CredentialsSettings("u", Secret("p"))))
    assert await config.make(FakeClock()).fetch() == (Login("u", "p"), None)


def test_credentials_have_the_name_of_their_key() -> None:
    """Messages name credentials by their key, and say nothing of what they are."""
    file = CredentialsSettings("ada", Secret("s3cret", Path("/run/secrets/hub")))
    google = CredentialsSettings(provider="google")
    (alone,) = make_credentials(_upstream(file))
    assert alone.name == "quay.io's credentials (password_file)"
    names = [config.name for config in make_credentials(_upstream(google, file))]
    assert names == [
        "quay.io's credentials[0] (google)",
        "quay.io's credentials[1] (password_file)",
    ]
    assert make_credentials(UpstreamSettings("quay.io", "https://quay.io")) == ()


def test_a_client_is_told_of_all_of_them() -> None:
    """All credentials of an upstream reach its client, in their order, and none is shown."""
    settings = [
        CredentialsSettings("ada", Secret("s3cret")),
        CredentialsSettings(provider="google"),
    ]
    config = make_config(_upstream(*settings))
    assert [each.name.split()[-1] for each in config.credentials] == ["(password)", "(google)"]
    assert "s3cret" not in repr(config)
    assert "ada" not in repr(config)


@pytest.mark.parametrize(
    ("upstream", "region", "expected"),
    [
        ({"name": _ECR}, None, EcrHost("eu-west-1")),
        ({"name": _ECR}, "us-east-2", EcrHost("us-east-2")),
        ({"name": _ECR, "url": "https://vpce.example"}, None, EcrHost("eu-west-1")),
        ({"name": "r.example", "url": f"https://{_ECR}"}, None, EcrHost("eu-west-1")),
        ({"name": "public.ecr.aws"}, None, EcrHost("us-east-1", is_public=True)),
        ({"name": "public.ecr.aws"}, "eu-west-1", EcrHost("us-east-1", is_public=True)),
        ({"name": "r.example"}, "eu-west-1", EcrHost("eu-west-1")),
        ({"name": "r.example"}, None, None),
    ],
)
def test_ecr_is_asked_in_the_right_region(
    upstream: dict[str, Any], region: str | None, expected: EcrHost | None
) -> None:
    """The region is the one that is written, else that of the URL, else that of the name."""
    credentials = CredentialsSettings(provider="ecr", region=region)
    settings = replace(_upstream(credentials, name=upstream["name"]), **upstream)
    if expected is None:
        with pytest.raises(StartError, match=r"r\.example names no region"):
            make_credentials(settings)
        return
    (config,) = make_credentials(settings)
    source = config.make(FakeClock())
    assert isinstance(source, Ecr)
    assert source._host == expected


def test_azures_registry_is_asked_by_its_upstreams_way() -> None:
    """What gives a login is asked as the upstream is: its URL, its TLS, its proxy, its times."""
    settings = replace(
        _upstream(
            CredentialsSettings(provider="acr", client_id="01234567-89ab-cdef-0123-456789abcdef"),
            name="acme.azurecr.io",
        ),
        url="https://acme.privatelink.example:8443",
        proxy_url="http://proxy.example:3128",
        connect_timeout=1.0,
        answer_timeout=2.0,
        insecure=True,
    )
    config = make_config(settings)
    source = config.credentials[0].make(FakeClock())
    assert isinstance(source, Acr)
    assert source._client_id == "01234567-89ab-cdef-0123-456789abcdef"
    assert source._exchange == Exchange(config.url, config.tls, config.proxy, 1.0, 2.0)
    assert isinstance(config.tls, ssl.SSLContext)


async def test_docker_knows_a_registry_by_all_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's file is looked for below the home directory, by the registry's names and URL."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    config = tmp_path / ".docker/config.json"
    config.write_text('{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}')
    settings = replace(
        load(None, {}).upstreams["docker.io"],
        credentials=CredentialsSettings(provider="docker-config"),
    )
    (made,) = make_credentials(settings)
    assert await made.make(FakeClock()).fetch() == (Login("u", "p"), None)


def test_half_a_login_does_not_start() -> None:
    """Settings made by hand without a password are refused at the start."""
    with pytest.raises(StartError, match="no username or no password"):
        make_credentials(_upstream(CredentialsSettings("u")))
