import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.settings import Settings, SettingsError, effective, effective_values, load

Load = Callable[..., Settings]

_SHIPPED = Path(__file__).parents[3] / "config/cacheproxy.yaml"
_ODD = """
server: {listen: "[::1]:22", workers: 4, drain_timeout: 90s, max_header_size: 1025,
         tls: {certificate: "a b: c", key: "no"}}
cache: {directory: "日本 #1", max_size: 12.5%, min_free: 1234567}
metadata: {url: "memory:"}
default_upstream: null
upstreams:
  docker.io: {official_namespace: null, aliases: [hub.example.com, index.docker.io]}
  a.io: {allow: [], deny: ["**"], insecure: true, token_realms: [a, "b:1"], ca_file: "1.10",
         client_certificate: {certificate: c, key: d}, proxy_url: "http://p:3128",
         tags: {fresh_for: 1001ms, stale_if_error: 0, on_not_found: drop}, max_connections: 7}
logging: {level: error, format: console}
"""


@pytest.mark.parametrize("text", ["", _ODD, _SHIPPED.read_text("utf-8")])
def test_the_effective_configuration_is_a_configuration(load_text: Load, text: str) -> None:
    """Without secrets, loading what is shown gives the same settings, as YAML and as JSON."""
    settings = load_text(text)
    shown = effective(settings)
    assert load_text(shown) == settings
    assert load_text(json.dumps(effective_values(settings))) == settings
    assert effective(load_text(shown)) == shown


def test_secrets_are_hidden(load_text: Load) -> None:
    """Of a password nothing is shown, of a proxy's URL all but the password."""
    shown = effective(
        load_text(
            "upstreams: {quay.io: {credentials: {username: me, password: hunter2}, "
            "proxy_url: 'http://you:hunter3@proxy:3128'}}"
        )
    )
    assert "hunter" not in shown
    assert "      username: me\n      password: '***'\n" in shown
    assert "proxy_url: http://you:***@proxy:3128\n" in shown


def test_a_redis_is_shown_without_its_password(load_text: Load) -> None:
    """Of a Redis all is shown but the passwords, and what is shown cannot be taken for them."""
    text = (
        "metadata: {url: 'redis+sentinel://me:hunter2@a,b:7/main/3?namespace=prod', "
        "password: hunter3, sentinel_username: you, sentinel_password: hunter4}\n"
    )
    settings = load_text(text)
    shown = effective(settings)
    assert "hunter" not in shown + repr(settings)
    assert "  url: redis+sentinel://me:***@a:26379,b:7/main/3?namespace=prod\n" in shown
    assert "  password: '***'\n" in shown
    assert "  sentinel_username: you\n  sentinel_password: '***'\n" in shown
    with pytest.raises(SettingsError, match="only stands for a hidden"):
        load_text(shown)


def test_a_redis_without_a_password_is_shown_as_it_is(load_text: Load) -> None:
    """Loading what is shown of a Redis gives the same Redis."""
    text = "metadata: {url: 'rediss://r:7000/2?ca_file=/a%20b', timeout: 250ms}\n"
    settings = load_text(text)
    assert load_text(effective(settings)) == settings


def test_values_are_shown_as_people_write_them() -> None:
    """Sizes, durations and addresses are shown in the form in which they are written."""
    shown = effective(load(None, {}))
    assert "  listen: 0.0.0.0:5000\n" in shown
    assert "  max_size: 50GiB\n" in shown
    assert "  max_header_size: 32KiB\n" in shown
    assert "      stale_if_error: 7d\n" in shown
    assert "  tls: null\n" in shown
