import pytest
from yarl import URL

from cacheproxy.upstream.trust import (
    may_follow,
    may_keep_login,
    realm_may_have_credentials,
)

_HUB = "https://registry-1.docker.io"


@pytest.mark.parametrize(
    ("realm", "upstream", "allowed"),
    [
        pytest.param("https://auth.docker.io/token", _HUB, (), id="docker.io"),
        pytest.param("https://gcr.io/v2/token", "https://gcr.io", (), id="the same host"),
        pytest.param("https://GHCR.io/token", "https://ghcr.io", (), id="in other case"),
        pytest.param("https://r.example:8443/token", "https://r.example", (), id="on another port"),
        pytest.param(
            "https://authn.nvidia.com/token", "https://nvcr.io", ("authn.nvidia.com",), id="allowed"
        ),
        pytest.param(
            "https://auth.example.co.uk/t", "https://registry.example.co.uk", (), id="co.uk"
        ),
        pytest.param(
            "https://127.0.0.1:5001/t", "https://127.0.0.1:5000", (), id="the same address"
        ),
        pytest.param("https://[::1]:5001/t", "https://[::1]:5000", (), id="the same IPv6 address"),
        pytest.param("http://localhost:5001/t", "http://localhost:5000", (), id="localhost"),
        pytest.param("https://auth.docker.io./token", _HUB, (), id="a trailing dot"),
        pytest.param("http://auth.example.com/t", "http://r.example.com", (), id="http for http"),
        pytest.param("https://auth.example.com/t", "http://r.example.com", (), id="https for http"),
    ],
)
def test_a_realm_of_the_upstream_gets_credentials(
    realm: str, upstream: str, allowed: tuple[str, ...]
) -> None:
    """Credentials go to the upstream's host, to its registrable domain, and where allowed."""
    assert realm_may_have_credentials(URL(realm), URL(upstream), frozenset(allowed))


@pytest.mark.parametrize(
    ("realm", "upstream", "allowed"),
    [
        pytest.param("https://evil.example/token", _HUB, (), id="another domain"),
        pytest.param("https://authn.nvidia.com/token", "https://nvcr.io", (), id="nvcr.io"),
        pytest.param(
            "https://evil.nvidia.com/token",
            "https://nvcr.io",
            ("authn.nvidia.com",),
            id="not that one",
        ),
        pytest.param("https://evil.co.uk/t", "https://registry.co.uk", (), id="siblings in co.uk"),
        pytest.param("https://co.uk/t", "https://registry.co.uk", (), id="the suffix itself"),
        pytest.param(
            "https://evil.github.io/t", "https://a.github.io", (), id="siblings in github.io"
        ),
        pytest.param(
            "https://evil.s3.amazonaws.com/t", "https://a.s3.amazonaws.com", (), id="buckets"
        ),
        pytest.param("https://docker.io.evil.example/t", _HUB, (), id="a longer name"),
        pytest.param("https://evildocker.io/t", _HUB, (), id="a name with the same end"),
        pytest.param("https://auth/t", "https://registry", (), id="two single labels"),
        pytest.param("https://127.0.0.2/t", "https://127.0.0.1", (), id="another address"),
        pytest.param("https://10.0.0.2/t", "https://10.0.0.1", (), id="a neighbour's address"),
        pytest.param("https://[::2]/t", "https://[::1]", (), id="another IPv6 address"),
        pytest.param(
            "https://localhost/t", "https://127.0.0.1", (), id="localhost for its address"
        ),
        pytest.param("http://auth.docker.io/token", _HUB, (), id="http for https"),
        pytest.param("http://registry-1.docker.io/token", _HUB, (), id="the same host by http"),
        pytest.param(
            "http://authn.nvidia.com/t",
            "https://nvcr.io",
            ("authn.nvidia.com",),
            id="allowed, by http",
        ),
        pytest.param("https://user@auth.docker.io/token", _HUB, (), id="a user"),
        pytest.param("https://user:pass@auth.docker.io/token", _HUB, (), id="a user and password"),
        pytest.param(
            "https://auth.docker.io@evil.example/token", _HUB, (), id="the host as a user"
        ),
        pytest.param("https://auth.docker.io/token#x", _HUB, (), id="a fragment"),
        pytest.param("https://127.1/t", "https://127.0.0.2", (), id="an address in short"),
        pytest.param("ftp://auth.docker.io/token", _HUB, (), id="another scheme"),
        pytest.param("file:///etc/passwd", _HUB, (), id="a file"),
        pytest.param("/token", _HUB, (), id="no host"),
        pytest.param("", _HUB, (), id="nothing"),
        pytest.param("auth.docker.io/token", _HUB, (), id="no scheme"),
    ],
)
def test_no_other_realm_gets_credentials(
    realm: str, upstream: str, allowed: tuple[str, ...]
) -> None:
    """Credentials go nowhere that upstream alone vouches for (CVE-2026-33540)."""
    assert not realm_may_have_credentials(URL(realm), URL(upstream), frozenset(allowed))


@pytest.mark.parametrize(
    ("location", "upstream"),
    [
        pytest.param("https://cdn.example/blob?X-Amz-Signature=x", _HUB, id="a CDN"),
        pytest.param("https://registry-1.docker.io/v2/other", _HUB, id="the upstream itself"),
        pytest.param("https://1.1.1.1/blob", _HUB, id="a public address"),
        pytest.param("https://[2606:4700::1111]/blob", _HUB, id="a public IPv6 address"),
        pytest.param("https://cdn.example/blob", "http://registry.local:5000", id="http to https"),
        pytest.param("http://cdn.example/blob", "http://registry.local:5000", id="http to http"),
        pytest.param("http://127.0.0.1:9000/b", "http://127.0.0.1:5000", id="a local upstream"),
        pytest.param("http://10.0.0.2/b", "http://10.0.0.1:5000", id="a private upstream"),
        pytest.param("http://127.0.0.1:9000/b", "http://localhost:5000", id="localhost's address"),
        pytest.param("https://10.0.0.1:9000/b", "https://10.0.0.1", id="its own private address"),
        pytest.param("https://registry-1.docker.io./v2/", _HUB, id="itself, with a trailing dot"),
        pytest.param("https://1.1/blob", _HUB, id="a public address in short"),
        pytest.param("http://127.1:9000/b", "http://127.0.0.1:5000", id="a local one in short"),
        pytest.param("https://0x7f.cdn.example/b", _HUB, id="a name that begins as a number"),
    ],
)
def test_a_redirect_is_followed(location: str, upstream: str) -> None:
    """A redirect may lead anywhere in public, and anywhere at all from a local upstream."""
    assert may_follow(URL(location), URL(upstream))


@pytest.mark.parametrize(
    ("location", "upstream"),
    [
        pytest.param("http://cdn.example/blob", _HUB, id="https to http"),
        pytest.param("http://registry-1.docker.io/v2/", _HUB, id="https to http on the same host"),
        pytest.param("https://169.254.169.254/latest/meta-data", _HUB, id="the metadata service"),
        pytest.param("http://169.254.169.254/", "http://registry.example", id="and by http"),
        pytest.param("https://metadata.google.internal/", _HUB, id="Google's metadata service"),
        pytest.param("https://[fd00:ec2::254]/latest", _HUB, id="Amazon's by IPv6"),
        pytest.param("https://localhost/b", _HUB, id="localhost"),
        pytest.param("https://LOCALHOST:8443/b", _HUB, id="LOCALHOST"),
        pytest.param("https://a.localhost/b", _HUB, id="below localhost"),
        pytest.param("https://127.0.0.1/b", _HUB, id="loopback"),
        pytest.param("https://127.8.8.8/b", _HUB, id="elsewhere on loopback"),
        pytest.param("https://127.1/b", _HUB, id="loopback in short"),
        pytest.param("https://2130706433/b", _HUB, id="loopback as one number"),
        pytest.param("https://0x7f000001/b", _HUB, id="loopback as one hexadecimal number"),
        pytest.param("https://0x7f.1/b", _HUB, id="loopback in hexadecimal"),
        pytest.param("https://0177.0.0.1/b", _HUB, id="loopback in octal"),
        pytest.param("https://0/b", _HUB, id="zero"),
        pytest.param("https://0xa9.0xfe.0xa9.0xfe/b", _HUB, id="metadata in hexadecimal"),
        pytest.param("https://169.254.43518/b", _HUB, id="metadata in three parts"),
        pytest.param("https://127.0.0.1./b", _HUB, id="loopback and a dot"),
        pytest.param("https://127.1../b", _HUB, id="loopback in short and dots"),
        pytest.param("https://localhost./b", _HUB, id="localhost and a dot"),
        pytest.param("https://a.localhost../b", _HUB, id="below localhost and dots"),
        pytest.param("https://metadata.google.internal./", _HUB, id="Google's and a dot"),
        pytest.param("https://[::1]/b", _HUB, id="IPv6 loopback"),
        pytest.param("https://[::ffff:127.0.0.1]/b", _HUB, id="loopback as IPv6"),
        pytest.param("https://[::ffff:169.254.169.254]/b", _HUB, id="metadata as IPv6"),
        pytest.param("https://0.0.0.0/b", _HUB, id="any address"),
        pytest.param("https://[::]/b", _HUB, id="any IPv6 address"),
        pytest.param("https://10.0.0.1/b", _HUB, id="10/8"),
        pytest.param("https://172.16.0.1/b", _HUB, id="172.16/12"),
        pytest.param("https://192.168.1.1/b", _HUB, id="192.168/16"),
        pytest.param("https://100.64.0.1/b", _HUB, id="carrier-grade NAT"),
        pytest.param("https://[fc00::1]/b", _HUB, id="unique local"),
        pytest.param("https://[fe80::1]/b", _HUB, id="link local"),
        pytest.param("https://127.0.0.1/b", "https://1.1.1.1", id="from a public address"),
        pytest.param("https://me@cdn.example/b", _HUB, id="a user"),
        pytest.param("https://me:pass@cdn.example/b", _HUB, id="a user and password"),
        pytest.param("https://cdn.example/b#part", _HUB, id="a fragment"),
        pytest.param("ftp://cdn.example/b", _HUB, id="ftp"),
        pytest.param("file:///etc/passwd", _HUB, id="a file"),
        pytest.param("gopher://cdn.example/", _HUB, id="gopher"),
        pytest.param("/v2/elsewhere", _HUB, id="no host"),
    ],
)
def test_a_redirect_is_not_followed(location: str, upstream: str) -> None:
    """A redirect never leads to what is less secure, nor to where only this machine can go."""
    assert not may_follow(URL(location), URL(upstream))


@pytest.mark.parametrize(
    ("location", "upstream", "allowed"),
    [
        pytest.param("https://10.0.0.9:9000/b", _HUB, "10.0.0.9", id="a private address"),
        pytest.param("https://minio.internal/b", _HUB, "minio.internal", id="an internal name"),
        pytest.param("http://127.0.0.1/b", "http://r.example", "127.0.0.1", id="loopback"),
        pytest.param("https://[fd00::9]:9000/b", _HUB, "[fd00::9]", id="an IPv6 address"),
        pytest.param("https://[fd00::9]:9000/b", _HUB, "[fd00::9]:9000", id="and its port"),
        pytest.param("https://10.0.0.9:9000/b", _HUB, "10.0.0.9:9000", id="a port"),
    ],
)
def test_a_named_host_may_be_redirected_to(location: str, upstream: str, allowed: str) -> None:
    """A private host that the operator has named may be redirected to, and no other one."""
    assert may_follow(URL(location), URL(upstream), frozenset({allowed}))
    assert not may_follow(URL(location), URL(upstream), frozenset({"10.0.0.8"}))


def test_another_port_than_the_named_one_is_another_host() -> None:
    """A host that is named with a port may be redirected to at that port alone."""
    location = URL("https://10.0.0.9:22/b")
    assert not may_follow(location, URL(_HUB), frozenset({"10.0.0.9:9000"}))


def test_a_named_host_is_no_way_to_less_security() -> None:
    """A redirect from https to http is not followed to a named host either."""
    location = URL("http://10.0.0.9/b")
    assert not may_follow(location, URL(_HUB), frozenset({"10.0.0.9"}))


@pytest.mark.parametrize(
    ("location", "sender", "kept"),
    [
        ("https://a.test/token/", "https://a.test/token", True),
        ("https://A.test:443/token/", "https://a.test/token", True),
        ("https://a.test/token", "http://a.test/token", True),
        ("http://a.test/token", "https://a.test/token", False),
        ("https://a.test:8443/token", "https://a.test/token", False),
        ("https://a.test/token", "http://a.test:8080/token", False),
        ("https://b.test/token", "https://a.test/token", False),
        ("https://b.test/token", "http://a.test/token", False),
    ],
)
def test_a_login_stays_with_its_origin(location: str, sender: str, kept: bool) -> None:
    """A token server's redirect keeps the login within its origin, or from http to https there."""
    assert may_keep_login(URL(location), URL(sender)) is kept
