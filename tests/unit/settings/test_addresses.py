from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.settings import Address
from cacheproxy.settings.addresses import (
    mask_password,
    parse_host,
    parse_proxy_url,
    parse_registry,
    parse_registry_url,
)


def _refusal(parse: Callable[[str], object], text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:5000", Address("0.0.0.0", 5000)),
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("cache-1.example.com:80", Address("cache-1.example.com", 80)),
        ("[::1]:5000", Address("::1", 5000)),
        ("[::]:5000", Address("::", 5000)),
        (":5000", Address("", 5000)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    """An address is a host, an IP address or nothing, and a port; it is written as it is read."""
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not an address; write host:port, such as 0.0.0.0:5000"),
        ("5000", "'5000' is not an address; write :5000 or 127.0.0.1:5000"),
        ("localhost", "write host:port"),
        ("localhost:", "write host:port"),
        ("localhost:http", "write host:port"),
        ("::1:5000", "write an IPv6 address in brackets: [::1]:5000"),
        ("http://localhost:5000", "is not an address"),
        (":65536", "'65536' is not a port; the highest is 65535"),
        (":-1", "is not an address"),
        ("0:22", "'0' is neither a host nor an IP address"),
        ("300.1.1.1:22", "'300.1.1.1' is neither a host nor an IP address"),
        ("*:5000", "'*' is neither a host nor an IP address"),
        ("a b:5000", "'a b' is neither a host nor an IP address"),
        ("[localhost]:5000", "'localhost' is not an IPv6 address"),
        ("[]:5000", "'' is not an IPv6 address"),
    ],
)
def test_what_is_no_address_is_refused(text: str, message: str) -> None:
    """Whatever is no address is refused with a sentence that says what to write."""
    assert message in _refusal(Address.parse, text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker.io", "docker.io"),
        ("Registry.Example.COM", "registry.example.com"),
        ("localhost", "localhost"),
        ("registry:5000", "registry:5000"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("docker.io:443", "docker.io"),
        ("docker.io.", "docker.io"),
        ("[::1]:5000", "[::1]:5000"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        ("[::1]:443", "[::1]"),
    ],
)
def test_a_registry_has_one_name(text: str, name: str) -> None:
    """A registry's name is compared in lower case, without default port and trailing dot."""
    assert parse_registry(text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registry", "one has a dot or a port"),
        ("", "is not a host or host:port"),
        ("https://quay.io", "write the host alone, without https:// or a path"),
        ("quay.io/team", "write the host alone"),
        ("quay..io", "is not a host"),
        (".io", "is not a host"),
        ("-a.io", "is not a host"),
        ("a_b.io", "is not a host"),
        ("::1", "is not a host"),
        ("[::1", "is not a host"),
        ("[1:2]:5000", "'1:2' is not an IPv6 address"),
        ("[::1]:99999", "'99999' is not a port"),
        ("*.example.com", "is not a host"),
        ("a.io:99999", "'99999' is not a port"),
        ("a." * 200 + "io", "is not a host"),
        ("ä.io", "is not a host"),
    ],
)
def test_what_cannot_name_a_registry_is_refused(text: str, message: str) -> None:
    """A name that cannot be the first component of an image reference is refused."""
    assert message in _refusal(parse_registry, text)


def test_a_host_needs_no_dot() -> None:
    """Where a host is meant, not a registry's name, one label will do."""
    assert parse_host("Auth") == "auth"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://quay.io", "https://quay.io"),
        ("https://quay.io/", "https://quay.io"),
        ("HTTPS://Quay.IO:8443", "https://quay.io:8443"),
        ("http://127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("http://[::1]:5050", "http://[::1]:5050"),
        ("http://Cache:5000/docker.io/", "http://cache:5000/docker.io"),
        ("https://a.b/Docker-Remote/x_y", "https://a.b/Docker-Remote/x_y"),
        ("https://quay.io//", "https://quay.io"),
        ("https://quay.io//a///b//", "https://quay.io/a/b"),
    ],
)
def test_a_registry_url_is_scheme_and_host(text: str, url: str) -> None:
    """A registry's URL is scheme, host and port in lower case, and a path of single slashes."""
    assert parse_registry_url(text) == url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quay.io", "must begin with https:// or http://"),
        ("ftp://quay.io", "must begin with https:// or http://"),
        ("https://", "has no valid host"),
        ("https://-a", "has no valid host"),
        ("https://1.2.3", "has no valid host"),
        ("https://quay.io/v2/", "must end before /v2/, which is added to it"),
        ("https://quay.io/x/v2", "must end before /v2/, which is added to it"),
        ("https://quay.io/a/../b", "must not have the path '/a/../b'"),
        ("https://quay.io/a%2fb", "must not have the path '/a%2fb'"),
        ("https://quay.io?x", "must not have a query or a fragment"),
        ("https://quay.io#x", "must not have a query or a fragment"),
        ("https://quay.io:99999", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://[zz]", "is not a"),
        ("https://qu ay.io", "must not contain spaces"),
        ("https://quay\t.io", "must not contain spaces, control"),
        ("https://quäy.io", "non-ASCII"),
    ],
)
def test_what_is_no_registry_url_is_refused(text: str, message: str) -> None:
    """Whatever is not the URL of a registry is refused with a sentence that says why."""
    assert message in _refusal(parse_registry_url, text)


@pytest.mark.parametrize("parse", [parse_registry_url, parse_proxy_url])
@pytest.mark.parametrize(
    "text",
    [
        "https://u:hunter2@quay.io/x",
        "u:hunter2@quay.io",
        "https://u:hunter2@",
        "socks5://u:hunter2@h",
    ],
)
def test_a_password_in_a_url_is_not_repeated(parse: Callable[[str], str], text: str) -> None:
    """The refusal of a URL with a password in it does not show the password."""
    assert "hunter2" not in _refusal(parse, text)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://user@proxy:3128", "http://user@proxy:3128"),
        ("http://user:p@ss:word@proxy:3128", "http://user:***@proxy:3128"),
        ("http://:secret@proxy", "http://:***@proxy"),
    ],
)
def test_a_proxy_url_is_shown_without_its_password(url: str, masked: str) -> None:
    """Of a proxy's URL only the password is hidden."""
    assert parse_proxy_url(url) == url
    assert mask_password(url) == masked


@pytest.mark.parametrize(
    "parse", [Address.parse, parse_registry, parse_host, parse_registry_url, parse_proxy_url]
)
@given(text=st.text() | st.from_regex(r"https?://[][a-z0-9.:@/%]{0,20}", fullmatch=True))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    """Each reader returns the same for what it returned, or raises ValueError, never else."""
    try:
        value = parse(text)
    except ValueError:
        return
    assert parse(str(value)) == value
