import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.settings import (
    Address,
    Bytes,
    ClientCertificateSettings,
    CredentialsSettings,
    Problem,
    Secret,
    Settings,
    SettingsError,
    Share,
    TagSettings,
    TlsSettings,
    UpstreamSettings,
    load,
)

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


def test_the_defaults_need_no_file() -> None:
    """Without a file and variables, the five best known registries are served with defaults."""
    settings = load(None, {})
    assert list(settings.upstreams) == [
        "docker.io",
        "quay.io",
        "gcr.io",
        "ghcr.io",
        "registry.k8s.io",
    ]
    assert settings == Settings(default_upstream="docker.io", upstreams=settings.upstreams)
    assert settings.upstreams["quay.io"] == UpstreamSettings("quay.io", "https://quay.io")


def test_every_key_is_read(load_text: Load) -> None:
    """Each key of the file arrives, with its type, where it belongs."""
    Path("secret").write_text("hunter2\n", encoding="utf-8")
    settings = load_text("""
server:
  listen: "[::1]:8080"
  workers: 3
  tls: {certificate: a.crt, key: a.key, client_ca: ca.crt}
  drain_timeout: 0s
  header_timeout: 1h30m
  write_timeout: 250ms
  max_header_size: 64KiB
admin: {listen: ":0"}
cache: {directory: /srv, max_size: 80%, min_free: 2GB}
metadata: {url: "memory:"}
default_upstream: R.example.com
upstreams:
  r.example.com:
    url: http://127.0.0.1:5050/
    aliases: [S.example.com]
    official_namespace: library
    credentials: {username: me, password: pa ss}
    tags: {fresh_for: 0, stale_while_revalidate: 1s, stale_if_error: 2m, on_not_found: drop,
           not_found_for: 3h}
    allow: [team/**, "*/x?"]
    deny: ["team/private/**"]
    ca_file: ca.pem
    client_certificate: {certificate: c.crt, key: c.key}
    proxy_url: http://me:pw@proxy:3128
    insecure: yes
    token_realms: [auth]
    max_connections: 1
    connect_timeout: 1s
    idle_timeout: 2s
logging: {level: debug, format: console}
""")
    assert settings.server.listen == Address("::1", 8080)
    assert settings.server.workers == 3
    assert settings.server.tls == TlsSettings(Path("a.crt"), Path("a.key"), Path("ca.crt"))
    assert settings.server.drain_timeout == 0
    assert settings.server.header_timeout == 5400
    assert settings.server.write_timeout == 0.25
    assert settings.server.max_header_size == 65536
    assert settings.admin.listen == Address("", 0)
    assert settings.cache.directory == Path("/srv")
    assert settings.cache.max_size == Share(Decimal(80))
    assert settings.cache.min_free == Bytes(2 * 1000**3)
    assert settings.metadata.url == "memory:"
    assert settings.default_upstream == "r.example.com"
    assert settings.logging.level == "debug"
    assert settings.logging.format == "console"
    assert settings.upstreams == {
        "r.example.com": UpstreamSettings(
            name="r.example.com",
            url="http://127.0.0.1:5050",
            aliases=("s.example.com",),
            official_namespace="library",
            credentials=CredentialsSettings("me", Secret("pa ss")),
            tags=TagSettings(0, 1, 120, on_not_found="drop", not_found_for=3 * 3600),
            allow=("team/**", "*/x?"),
            deny=("team/private/**",),
            ca_file=Path("ca.pem"),
            client_certificate=ClientCertificateSettings(Path("c.crt"), Path("c.key")),
            proxy_url="http://me:pw@proxy:3128",
            insecure=True,
            token_realms=("auth",),
            max_connections=1,
            connect_timeout=1,
            idle_timeout=2,
        )
    }


def test_workers_auto_is_one_for_each_core(
    load_text: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`workers: auto` is resolved at load, and is 1 where the cores cannot be counted."""
    assert load_text("server: {workers: auto}").server.workers == os.cpu_count()


@pytest.mark.parametrize(
    ("written", "username"),
    [
        ("no", "no"),
        ("0123", "0123"),
        ("1.10", "1.10"),
        ("2001-01-01", "2001-01-01"),
        ("1e3", "1e3"),
        ("'null'", "null"),
        ("0x1F", "0x1F"),
        (".inf", ".inf"),
    ],
)
def test_a_text_is_what_is_written(load_text: Load, written: str, username: str) -> None:
    """What YAML 1.1 takes for a boolean, number, date or null stays the text that it is."""
    settings = load_text(
        f"upstreams: {{quay.io: {{credentials: {{username: {written}, password: {written}}}}}}}"
    )
    credentials = settings.upstreams["quay.io"].credentials
    assert credentials == CredentialsSettings(username, Secret(username))


def test_a_sexagesimal_address_is_an_address(load_text: Load) -> None:
    """`1.1.1.1:22` and a host with a port below 60 are no base 60 numbers."""
    assert load_text("server: {listen: 10.0.0.1:22}").server.listen == Address("10.0.0.1", 22)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "\n\ncache:\n  max_sizee: 1GiB\n",
            ["4:3: cache.max_sizee: unknown key; did you mean max_size?"],
        ),
        ("min_free: 1GiB\n", ["1:1: min_free: unknown key; did you mean cache.min_free?"]),
        (
            "zzz: 1\n",
            [
                "1:1: zzz: unknown key; its keys are server, admin, cache, metadata, "
                "default_upstream, upstreams, warm, logging, cluster"
            ],
        ),
        (
            "logging: {colour: 1}\n",
            ["1:11: logging.colour: unknown key; its keys are level, format"],
        ),
        (
            '"a\\nb": 1\n',
            [
                "1:1: 'a\\nb': unknown key; its keys are server, admin, cache, metadata, "
                "default_upstream, upstreams, warm, logging, cluster"
            ],
        ),
        (
            "cache: 5\n",
            [
                "1:8: cache: must be a section; its keys are directory, max_size, min_free, "
                "keep_partial, abandon_after, policy, idle_for, pins, scrub_every, scrub_rate, "
                "relay_ahead, access_log, manifest_memory"
            ],
        ),
        (
            "cache: [a]\n",
            [
                "1:8: cache: must be a section; its keys are directory, max_size, min_free, "
                "keep_partial, abandon_after, policy, idle_for, pins, scrub_every, scrub_rate, "
                "relay_ahead, access_log, manifest_memory"
            ],
        ),
        ("upstreams: [docker.io]\n", ["1:12: upstreams: must be a section"]),
        (
            "upstreams: {quay.io: https://quay.io}\n",
            [
                "1:22: upstreams.quay.io: must be a section; its keys are url, aliases, "
                "official_namespace, credentials, tags, allow, deny, ca_file, client_certificate, "
                "proxy_url, insecure, token_realms, redirect_hosts, max_connections, "
                "connect_timeout, answer_timeout, idle_timeout, max_size, retries, "
                "mirrors, offline, breaker, ratelimit_reserve, max_bandwidth, "
                "price_per_gb"
            ],
        ),
        ("server: {listen: [a]}\n", ["1:18: server.listen: must be one value, not a list"]),
        ("server: {listen: {a: b}}\n", ["1:18: server.listen: must be one value, not a section"]),
        (
            "server:\n  listen:\n",
            ["2:10: server.listen: has no value; write one, or remove the key to get the default"],
        ),
        (
            "server: {listen: ''}\n",
            ["1:18: server.listen: is empty; write a value, or remove the key to get the default"],
        ),
        (
            'server: {listen: "a\\0:1"}\n',
            ["1:18: server.listen: must not contain line ends or other control characters"],
        ),
        (
            "server:\n  listen: 0:22\n",
            ["2:11: server.listen: '0' is neither a host nor an IP address"],
        ),
        (
            "server: {listen: 5000}\n",
            ["1:18: server.listen: '5000' is not an address; write :5000 or 127.0.0.1:5000"],
        ),
        (
            "server: {workers: '2'}\n",
            ["1:19: server.workers: must be a number, without quotes: '2'"],
        ),
        (
            "server: {workers: 2.0}\n",
            ["1:19: server.workers: '2.0' is not a whole number in decimal digits"],
        ),
        (
            "server: {workers: 0x2}\n",
            ["1:19: server.workers: '0x2' is not a whole number in decimal digits"],
        ),
        (
            "server: {workers: 010}\n",
            ["1:19: server.workers: '010' is not a whole number in decimal digits"],
        ),
        (
            "server: {workers: true}\n",
            ["1:19: server.workers: 'true' is not a whole number in decimal digits"],
        ),
        ("server: {workers: 0}\n", ["1:19: server.workers: 0 is not within 1 and 1024"]),
        ("server: {workers: -1}\n", ["1:19: server.workers: -1 is not within 1 and 1024"]),
        (
            "server: {drain_timeout: 30}\n",
            ["1:25: server.drain_timeout: '30' has no unit; write 30s (units: ms, s, m, h, d)"],
        ),
        (
            "server: {write_timeout: 0}\n",
            ["1:25: server.write_timeout: '0' must be longer than 0s"],
        ),
        (
            "server: {header_timeout: 1:30}\n",
            [
                "1:26: server.header_timeout: '1:30' is not a duration; "
                "write it like 250ms, 30s, 1h30m or 7d"
            ],
        ),
        (
            "server: {max_header_size: 80%}\n",
            [
                "1:27: server.max_header_size: '80%' is not a size; "
                "write it like 50GiB, 170MB or 1.5TiB"
            ],
        ),
        (
            "server: {max_header_size: 100}\n",
            ["1:27: server.max_header_size: '100' is not within 1KiB and 1MiB"],
        ),
        (
            "cache: {access_log: 512KiB}\n",
            [
                "1:21: cache.access_log: '512KiB' is too small; write 1MiB or more, or 0 for none",
            ],
        ),
        (
            "server:\n  tls:\n    key: a\n",
            [
                "2:3: server.tls.certificate: is missing; write it beside "
                "the others, or remove the section"
            ],
        ),
        (
            "server: {tls: {}}\n",
            [
                "1:10: server.tls.certificate: is missing; write it beside the "
                "others, or remove the section",
                "1:10: server.tls.key: is missing; write it beside the others, or "
                "remove the section",
            ],
        ),
        ("cache: {max_size: 0}\n", ["1:19: cache.max_size: '0' must be at least one byte"]),
        (
            "cache: {max_size: -5GiB}\n",
            ["1:19: cache.max_size: '-5GiB' is not a size; write it like 50GiB, 170MB or 1.5TiB"],
        ),
        (
            "cache: {max_size: 120%}\n",
            ["1:19: cache.max_size: '120%' must be more than 0% and at most 100%"],
        ),
        (
            "cache: {directory: ~/x}\n",
            ["1:20: cache.directory: '~/x' would not be expanded; write the whole path"],
        ),
        (
            "metadata: {url: 'redis://:hunter2/2@r:6379/0'}\n",
            [
                "1:17: metadata.url: has no proper host; write one such as redis://host:6379/0, "
                "and percent-encode what is not a letter or a digit in a user name or a password"
            ],
        ),
        (
            "metadata: {url: 'redis+sentinel://r'}\n",
            [
                "1:17: metadata.url: does not say what the Sentinels call the server; write "
                "redis+sentinel://host1:26379,host2:26379/service/0"
            ],
        ),
        (
            "metadata: {url: 'redis://r', sentinel_username: me, sentinel_password: hunter2}\n",
            [
                "1:30: metadata.sentinel_username: is for Sentinels, and metadata.url is not "
                "redis+sentinel://…; remove it",
                "1:53: metadata.sentinel_password: is for Sentinels, and metadata.url is not "
                "redis+sentinel://…; remove it",
            ],
        ),
        (
            "metadata: {url: 'redis+sentinel://r/s', sentinel_username: me}\n",
            [
                "1:41: metadata.sentinel_username: is of use with a password only; write "
                "sentinel_password beside it"
            ],
        ),
        (
            "metadata: {url: embedded}\n",
            ["1:17: metadata.url: 'embedded' lacks its colon; write 'embedded:'"],
        ),
        (
            "metadata: {url: 'sqlite:x'}\n",
            [
                "1:17: metadata.url: is not a known kind of store; use 'embedded:', or "
                "redis://host:6379/0"
            ],
        ),
        (
            "logging: {level: INFO}\n",
            [
                "1:18: logging.level: 'INFO' is not one of debug, info, warning, "
                "error; did you mean info?"
            ],
        ),
        (
            "warm: {schedule: [{images: [a/b, gcr.io:x, 'b:*'], every: 5, platforms: [amd64]}]}\n",
            [
                "1:44: warm.schedule[0].images[2]: 'b:*' must be one image, without * and ?; a "
                "webhook tells of new tags",
                "1:59: warm.schedule[0].every: '5' has no unit; write 5s (units: ms, s, m, h, d)",
                "1:74: warm.schedule[0].platforms[0]: 'amd64' is not a platform; write one such as "
                "linux/amd64 or linux/arm64/v8, or all",
            ],
        ),
        (
            "upstreams: {quay.io: {allow: [a/*]}}\n"
            "warm: {schedule: [{images: [quay.io/b/c, nginx, quay.io/a/b], every: 5m}]}\n",
            [
                "2:29: warm.schedule[0].images[0]: quay.io/b/c is not allowed by this proxy's "
                "rules",
                "2:42: warm.schedule[0].images[1]: 'nginx' names no upstream, and none is the "
                "default",
            ],
        ),
        (
            "warm: {schedule: [{images: [], every: 5m}, nginx]}\n",
            ["1:44: warm.schedule[1]: must be a section; its keys are images, every, platforms"],
        ),
        (
            "warm: {schedule: {images: [a], every: 5m}}\n",
            ["1:18: warm.schedule: must be a list of sections, each of which begins with a dash"],
        ),
        ("logging: {format: xml}\n", ["1:19: logging.format: 'xml' is not one of json, console"]),
    ],
)
def test_a_wrong_value_is_named_in_place(problems: Problems, text: str, lines: list[str]) -> None:
    """Each wrong key or value is reported with line, column, path and what to write."""
    assert problems(text) == [f"c.yaml:{line}" for line in lines]


def test_all_problems_come_at_once_in_order(problems: Problems) -> None:
    """Problems of the text, of keys, of values and of the environment come together, sorted."""
    lines = problems(
        "logging: {level: x}\ncache: {max_size: 0}\ncache: {}\nupstreams: {foo: {}}\n",
        {"CACHEPROXY__SERVER__WORKERS": "many"},
    )
    assert [line.split(" ")[0] for line in lines] == [
        "c.yaml:1:18:",
        "c.yaml:2:19:",
        "c.yaml:3:1:",
        "c.yaml:4:13:",
        "$CACHEPROXY__SERVER__WORKERS:",
    ]


def test_problems_are_values(load_text: Load) -> None:
    """The error has each problem's parts, the file, and is one of the project's errors."""
    with pytest.raises(SettingsError) as caught:
        load_text("cache:\n  max_sizee: 1\n", {"CACHEPROXY__X": ""})
    assert caught.value.problems == (
        Problem(2, 3, "cache.max_sizee", "unknown key; did you mean max_size?"),
        Problem(None, None, "$CACHEPROXY__X", "unknown variable"),
    )
    assert caught.value.file == Path("c.yaml")
    assert isinstance(caught.value, CacheproxyError)


def test_a_problem_without_a_file_has_no_place(tmp_path: Path) -> None:
    """Without a file, a problem's line begins with the key or the variable."""
    with pytest.raises(SettingsError) as caught:
        load(None, {"CACHEPROXY__SERVER__TLS__KEY": "a"})
    assert str(caught.value) == (
        "server.tls.certificate: is missing; write it beside the others, or remove the section"
    )


@pytest.mark.parametrize(
    "secret", ["[hunter2]", "{hunter2: 1}", "!x hunter2", "*hunter2", "hunter2: 1"]
)
def test_a_misplaced_secret_is_not_repeated(problems: Problems, secret: str) -> None:
    """Whatever is wrong with how a password is written, the message does not show it."""
    lines = problems(f"upstreams:\n  quay.io:\n    credentials:\n      password: {secret}\n")
    assert "hunter2" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1MiB", 1024**2), ("2GiB", 2 * 1024**3), ("1048576", 1024**2)]
)
def test_the_access_log_may_be_off(load_text: Load, text: str, size: int) -> None:
    """A size of 0 turns it off; any other is one that is worth its segments."""
    assert load_text(f"cache: {{access_log: {text}}}\n").cache.access_log == size
