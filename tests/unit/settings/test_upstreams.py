from collections.abc import Callable

import pytest

from cacheproxy.settings import Settings, UpstreamSettings
from cacheproxy.settings.well_known import WELL_KNOWN

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

_DOCKER_ALIASES = ("index.docker.io", "registry-1.docker.io")


@pytest.mark.parametrize("written", ["{docker.io: {}}", "{docker.io: }", "{Docker.IO: {}}"])
def test_docker_hub_needs_only_its_name(load_text: Load, written: str) -> None:
    """Docker Hub's URL, aliases and namespace are known."""
    settings = load_text(f"upstreams: {written}")
    assert settings.upstreams == {
        "docker.io": UpstreamSettings(
            "docker.io", "https://registry-1.docker.io", _DOCKER_ALIASES, "library"
        )
    }
    assert settings.default_upstream == "docker.io"


@pytest.mark.parametrize("name", sorted(WELL_KNOWN))
def test_well_known_registries_are_where_they_are(load_text: Load, name: str) -> None:
    """Each well-known registry can be configured by its name alone."""
    assert load_text(f"upstreams: {{{name}: }}").upstreams[name].url == WELL_KNOWN[name].url


def test_any_other_registry_is_at_its_name(load_text: Load) -> None:
    """A registry that is not known is at https://NAME, port included."""
    upstreams = load_text("upstreams: {r.example.com:8443: {}, localhost: {}}").upstreams
    assert upstreams["r.example.com:8443"].url == "https://r.example.com:8443"
    assert upstreams["localhost"].url == "https://localhost"


def test_a_mirror_of_docker_hub_stays_docker_hub(load_text: Load) -> None:
    """Another URL for docker.io changes neither its aliases nor its namespace; new ones add."""
    settings = load_text(
        "upstreams: {docker.io: {url: 'http://127.0.0.1:5050', aliases: [hub.example.com, "
        "index.docker.io]}}"
    )
    assert settings.upstreams["docker.io"] == UpstreamSettings(
        "docker.io", "http://127.0.0.1:5050", (*_DOCKER_ALIASES, "hub.example.com"), "library"
    )


def test_the_namespace_can_be_turned_off(load_text: Load) -> None:
    """`official_namespace: null` on docker.io means none."""
    settings = load_text("upstreams: {docker.io: {official_namespace: null}}")
    assert settings.upstreams["docker.io"].official_namespace is None


def test_upstreams_keep_their_order(load_text: Load) -> None:
    """Upstreams come in the order in which they are written, whatever their case."""
    assert list(load_text("upstreams: {B.io: , a.io: , C.io: }").upstreams) == [
        "b.io",
        "a.io",
        "c.io",
    ]


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("upstreams: {quay.io: }", None),
        ("upstreams: {quay.io: , docker.io: }", "docker.io"),
        ("upstreams: {quay.io: , docker.io: }\ndefault_upstream: null", None),
        ("upstreams: {quay.io: , docker.io: }\ndefault_upstream:", None),
        ("upstreams: {quay.io: , docker.io: }\ndefault_upstream: Quay.io", "quay.io"),
    ],
)
def test_the_default_is_docker_hub_if_it_is_there(
    load_text: Load, text: str, default: str | None
) -> None:
    """Not written, the default upstream is docker.io, or none when that is not configured."""
    assert load_text(text).default_upstream == default


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "upstreams: {quay.io: }\ndefault_upstream: docker.io\n",
            [
                "2:19: default_upstream: 'docker.io' is not among the upstreams; write one of "
                "quay.io, or "
                "null"
            ],
        ),
        (
            "upstreams: {docker.io: }\ndefault_upstream: index.docker.io\n",
            [
                "2:19: default_upstream: 'index.docker.io' is not among the upstreams; write "
                "docker.io"
            ],
        ),
        (
            "default_upstream: [docker.io]\n",
            ["1:19: default_upstream: must be one value, not a list"],
        ),
        (
            "upstreams:\n",
            [
                "1:1: upstreams: names no upstream; write at least one, or remove the key for the "
                "defaults"
            ],
        ),
        (
            "upstreams: {}\n",
            [
                "1:1: upstreams: names no upstream; write at least one, or remove the key for the "
                "defaults"
            ],
        ),
        (
            "upstreams: {registry: {}}\n",
            [
                "1:13: upstreams.registry: 'registry' is not a registry's name; one has a "
                "dot or a port "
                "(registry.example.com, registry:5000), or is localhost"
            ],
        ),
        (
            "upstreams: {https://quay.io: {}}\n",
            [
                "1:13: upstreams.https://quay.io: 'https://quay.io' is not a host or "
                "host:port; write the "
                "host alone, without https:// or a path"
            ],
        ),
        ("upstreams: {'': {}}\n", ["1:13: upstreams.'': '' is not a host or host:port"]),
        (
            "upstreams:\n  quay.io: {}\n  QUAY.io: {}\n",
            ["3:3: upstreams.QUAY.io: is the same registry as quay.io; remove one"],
        ),
        (
            "upstreams:\n  quay.io: {}\n  quay.io:443: {}\n",
            ["3:3: upstreams.quay.io:443: is the same registry as quay.io; remove one"],
        ),
        (
            "upstreams:\n  index.docker.io: {}\n  docker.io: {}\n",
            ["2:3: upstreams.index.docker.io: is an alias of docker.io already; remove it"],
        ),
        (
            "upstreams:\n  quay.io: {aliases: [ghcr.io]}\n  ghcr.io:\n",
            [
                "2:23: upstreams.quay.io.aliases[0]: ghcr.io names ghcr.io already; an alias "
                "must be "
                "unique"
            ],
        ),
        (
            "upstreams:\n  a.io: {aliases: [x.io]}\n  b.io: {aliases: [y.io, X.io]}\n",
            ["3:26: upstreams.b.io.aliases[1]: x.io names a.io already; an alias must be unique"],
        ),
        (
            "upstreams:\n  docker.io:\n  b.io: {aliases: [index.docker.io]}\n",
            [
                "3:20: upstreams.b.io.aliases[0]: index.docker.io names docker.io already; "
                "an alias must "
                "be unique"
            ],
        ),
        (
            "upstreams: {quay.io: {name: quay.io}}\n",
            [
                "1:23: upstreams.quay.io.name: unknown key; an upstream's name is the key "
                "that it stands "
                "under"
            ],
        ),
        (
            "upstreams: {quay.io: {urls: x}}\n",
            ["1:23: upstreams.quay.io.urls: unknown key; did you mean url?"],
        ),
        (
            "upstreams: {Quay.io: {urls: x}}\n",
            ["1:23: upstreams.quay.io.urls: unknown key; did you mean url?"],
        ),
        (
            "upstreams: {quay.io: {url: null}}\n",
            [
                "1:28: upstreams.quay.io.url: has no value; write one, or remove the key to "
                "get the "
                "default"
            ],
        ),
        (
            "upstreams: {quay.io: {url: quay.io}}\n",
            ["1:28: upstreams.quay.io.url: must begin with https:// or http://"],
        ),
        (
            "upstreams: {quay.io: {allow: team/**}}\n",
            ['1:30: upstreams.quay.io.allow: must be a list, such as ["team/**"]'],
        ),
        (
            "upstreams: {quay.io: {allow: {a: b}}}\n",
            ["1:30: upstreams.quay.io.allow: must be a list, such as [a, b]"],
        ),
        (
            "upstreams: {quay.io: {allow: null}}\n",
            ["1:30: upstreams.quay.io.allow: must be a list, such as [a, b]"],
        ),
        (
            "upstreams: {quay.io: {deny: [a, [b], /c, A]}}\n",
            [
                "1:33: upstreams.quay.io.deny[1]: must be one value, not a list",
                "1:38: upstreams.quay.io.deny[2]: '/c' must not begin or end with '/'",
                "1:42: upstreams.quay.io.deny[3]: 'A' matches no repository: their names have only "
                "lower-case letters, digits and . _ - / (and a pattern * ** ?)",
            ],
        ),
        (
            "upstreams: {quay.io: {aliases: [quay]}}\n",
            [
                "1:33: upstreams.quay.io.aliases[0]: 'quay' is not a registry's name; one "
                "has a dot or a "
                "port (registry.example.com, registry:5000), or is localhost"
            ],
        ),
        (
            "upstreams: {quay.io: {token_realms: ['https://a.io/token']}}\n",
            [
                "1:38: upstreams.quay.io.token_realms[0]: 'https://a.io/token' is not a host or "
                "host:port; write the host alone, without https:// or a path"
            ],
        ),
        (
            "upstreams: {quay.io: {official_namespace: a/b}}\n",
            [
                "1:43: upstreams.quay.io.official_namespace: 'a/b' is not one component of a "
                "repository's name"
            ],
        ),
        (
            "upstreams: {quay.io: {insecure: 'true'}}\n",
            [
                "1:33: upstreams.quay.io.insecure: 'true' is not true or false (written "
                "without quotes)"
            ],
        ),
        (
            "upstreams: {quay.io: {insecure: 1}}\n",
            ["1:33: upstreams.quay.io.insecure: '1' is not true or false (written without quotes)"],
        ),
        (
            "upstreams: {quay.io: {max_connections: 10001}}\n",
            ["1:40: upstreams.quay.io.max_connections: 10001 is not within 1 and 10000"],
        ),
        (
            "upstreams: {quay.io: {tags: {on_not_found: remove}}}\n",
            ["1:44: upstreams.quay.io.tags.on_not_found: 'remove' is not one of keep, drop"],
        ),
        (
            "upstreams: {quay.io: {proxy_url: 'socks5://u:hunter2@p'}}\n",
            ["1:34: upstreams.quay.io.proxy_url: must begin with https:// or http://"],
        ),
        (
            "upstreams: {quay.io: {proxy_url: 'http://u:hunter2@p/x'}}\n",
            ["1:34: upstreams.quay.io.proxy_url: must not have a path; write http://host:port"],
        ),
        (
            "upstreams: {quay.io: {credentials: {username: 'a:b', password: ''}}}\n",
            [
                "1:47: upstreams.quay.io.credentials.username: 'a:b' must not contain ':'",
                "1:64: upstreams.quay.io.credentials.password: is empty; write the secret, "
                "or remove the "
                "section",
            ],
        ),
        (
            "upstreams: {quay.io: {credentials: {username: a, password: '***'}}}\n",
            [
                "1:60: upstreams.quay.io.credentials.password: is ***, which only stands for "
                "a hidden "
                "secret; write the secret"
            ],
        ),
        (
            "upstreams: {quay.io: {credentials: {}}}\n",
            [
                "1:23: upstreams.quay.io.credentials.username: is missing; write it beside "
                "the others, or "
                "remove the section",
                "1:23: upstreams.quay.io.credentials.password: is missing; write password or "
                "password_file",
            ],
        ),
    ],
)
def test_what_is_wrong_with_upstreams(problems: Problems, text: str, lines: list[str]) -> None:
    """Names that collide or cannot be, and wrong values of upstreams, are reported in place."""
    assert problems(text) == [f"c.yaml:{line}" for line in lines]


def test_what_is_below_a_wrong_name_is_checked_too(problems: Problems) -> None:
    """An upstream whose name is refused has its other problems reported at the same time."""
    lines = problems("upstreams: {foo: {insecure: maybe}}")
    assert [line.split(" ")[1] for line in lines] == ["upstreams.foo:", "upstreams.foo.insecure:"]
