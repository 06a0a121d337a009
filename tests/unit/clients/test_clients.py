"""The files of each client, as text."""

import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cacheproxy.clients import CLIENTS
from cacheproxy.clients.docker import merged
from cacheproxy.clients.setup import Served, Setup, Wish

PEM = "-----BEGIN CERTIFICATE-----\n"
WISH = Wish(
    url="http://cache.example.com:5000",
    served=(Served("docker.io", ("index.docker.io",)), Served("quay.io")),
    default="docker.io",
)
TLS = replace(WISH, url="https://cache.example.com:5000", authority=PEM)


def _files(client: str, wish: Wish) -> dict[str, str]:
    return {file.path: file.content for file in CLIENTS[client](wish).files}


def _only(client: str, wish: Wish) -> Any:
    """The one file, read as what it is."""
    ((path, content),) = _files(client, wish).items()
    match path.rpartition(".")[2]:
        case "yaml":
            return yaml.safe_load(content)
        case "json":
            return json.loads(content)
        case _:
            return tomllib.loads(content)


def _said(setup: Setup) -> str:
    return "\n".join((*setup.steps, *setup.warnings))


@pytest.mark.parametrize("client", CLIENTS)
def test_how_to_see_that_it_works_is_the_last_step(client: str) -> None:
    """Each client's steps end with a pull, and with where to see that it went this way."""
    last = CLIENTS[client](WISH).steps[-1]
    assert last.startswith("Check: ")
    assert "`request` lines" in last


@pytest.mark.parametrize("client", CLIENTS)
def test_paths_are_absolute_and_each_is_there_once(client: str) -> None:
    """Each file has one place, whatever is asked for."""
    for wish in (WISH, TLS, replace(TLS, falls_back=False, is_for_each=True)):
        paths = [file.path for file in CLIENTS[client](wish).files]
        assert len(set(paths)) == len(paths)
        assert all(path.startswith("/etc/") for path in paths)


def test_containerd_falls_back_by_itself() -> None:
    """One file is for all registries, and names no server: that is the registry itself."""
    assert _only("containerd", WISH) == {
        "host": {
            "http://cache.example.com:5000": {
                "capabilities": ["pull", "resolve"],
                "dial_timeout": "2s",
            }
        }
    }


def test_containerd_without_falling_back_has_the_proxy_for_a_server() -> None:
    """What is asked last is the proxy again."""
    document = _only("containerd", replace(WISH, falls_back=False))
    assert document["server"] == "http://cache.example.com:5000"


def test_containerd_for_each_registry_has_all_names() -> None:
    """There is a directory for each name, aliases included, and the authority once."""
    files = _files("containerd", replace(TLS, is_for_each=True))
    root = "/etc/containerd/certs.d"
    assert list(files) == [
        f"{root}/docker.io/hosts.toml",
        f"{root}/index.docker.io/hosts.toml",
        f"{root}/quay.io/hosts.toml",
        f"{root}/docker.io/ca.crt",
    ]
    authorities = [
        tomllib.loads(files[f"{root}/{name}/hosts.toml"])["host"][TLS.url]["ca"]
        for name in ("docker.io", "index.docker.io", "quay.io")
    ]
    assert authorities == ["ca.crt", "../docker.io/ca.crt", "../docker.io/ca.crt"]


def test_docker_has_the_hub_s_mirror_and_may_speak_plain_http() -> None:
    """daemon.json has both, and certs.d is for the image store of containerd."""
    files = _files("docker", WISH)
    assert json.loads(files["/etc/docker/daemon.json"]) == {
        "registry-mirrors": ["http://cache.example.com:5000"],
        "insecure-registries": ["cache.example.com:5000"],
    }
    hosts = tomllib.loads(files["/etc/docker/certs.d/_default/hosts.toml"])
    assert list(hosts["host"]) == ["http://cache.example.com:5000"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"]
)
def test_docker_needs_no_leave_for_this_machine(url: str) -> None:
    """Plain HTTP to its own machine is allowed anyway."""
    document = json.loads(_files("docker", replace(WISH, url=url))["/etc/docker/daemon.json"])
    assert document == {"registry-mirrors": [url]}


def test_docker_with_tls_has_the_authority_where_it_looks() -> None:
    """The authority is in the directory of the proxy's own name, and hosts.toml says so."""
    files = _files("docker", TLS)
    authority = "/etc/docker/certs.d/cache.example.com:5000/ca.crt"
    assert files[authority] == PEM
    assert json.loads(files["/etc/docker/daemon.json"]) == {"registry-mirrors": [TLS.url]}
    hosts = tomllib.loads(files["/etc/docker/certs.d/_default/hosts.toml"])
    assert hosts["host"][TLS.url]["ca"] == authority


def test_docker_has_one_name_for_the_proxy() -> None:
    """Where it gets a port so that it is no repository, it has it for a mirror too."""
    files = _files("docker", replace(TLS, url="https://cache"))
    document = json.loads(files["/etc/docker/daemon.json"])
    assert document["registry-mirrors"] == ["https://cache:443"]
    assert "/etc/docker/certs.d/cache:443/ca.crt" in files


def test_docker_is_sent_by_a_path_where_the_hub_is_not_the_default() -> None:
    """Another default would answer for the Hub, so the mirror names it, and this is said."""
    setup = CLIENTS["docker"](replace(WISH, default="quay.io"))
    document = json.loads(setup.files[0].content)
    assert document["registry-mirrors"] == ["http://cache.example.com:5000/docker.io"]
    assert "since version 25" in _said(setup)


def test_docker_has_no_mirror_where_the_hub_is_not_served() -> None:
    """A mirror without the Hub would be asked for each pull in vain; that is said."""
    wish = replace(TLS, served=(Served("quay.io"),), default=None)
    assert "/etc/docker/daemon.json" not in _files("docker", wish)
    assert "docker.io is not among" in _said(CLIENTS["docker"](wish))


@pytest.mark.parametrize("client", ["podman", "crio"])
def test_registries_conf_has_a_mirror_for_each_name(client: str) -> None:
    """Each name has the registry for its location, and a mirror with a path before it."""
    assert _only(client, WISH)["registry"] == [
        {
            "prefix": name,
            "location": name,
            "mirror": [{"location": f"cache.example.com:5000/{registry}", "insecure": True}],
        }
        for name, registry in [
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("quay.io", "quay.io"),
        ]
    ]


def test_podman_without_falling_back_has_the_proxy_for_a_location() -> None:
    """The registry itself is nowhere named as a place."""
    first = _only("podman", replace(WISH, falls_back=False))["registry"][0]
    assert first == {
        "prefix": "docker.io",
        "location": "cache.example.com:5000/docker.io",
        "insecure": True,
    }


def test_podman_with_tls_is_not_insecure() -> None:
    """With TLS the authority is where containers/image looks, and nothing is insecure."""
    files = _files("podman", TLS)
    assert files["/etc/containers/certs.d/cache.example.com:5000/ca.crt"] == PEM
    assert "insecure" not in files["/etc/containers/registries.conf.d/cacheproxy.conf"]


def test_a_name_without_a_dot_gets_its_port() -> None:
    """`cache/docker.io` would be a repository of Docker Hub."""
    document = _only("podman", replace(WISH, url="http://cache"))
    assert document["registry"][0]["mirror"][0]["location"] == "cache:80/docker.io"


def test_k3s_has_one_entry_for_all() -> None:
    """The wildcard stands for every registry."""
    assert _only("k3s", WISH) == {"mirrors": {"*": {"endpoint": [WISH.url]}}}
    assert list(_only("k3s", replace(WISH, is_for_each=True))["mirrors"]) == list(WISH.names)


def test_k3s_with_tls_names_the_authority_s_file() -> None:
    """The configuration of the proxy's host has the path of what is written beside it."""
    files = _files("k3s", TLS)
    document = yaml.safe_load(files["/etc/rancher/k3s/registries.yaml"])
    tls = document["configs"]["cache.example.com:5000"]["tls"]
    assert files[tls["ca_file"]] == PEM


def test_k3s_says_what_forbids_falling_back() -> None:
    """It is an option of the service, not of the file."""
    said = _said(CLIENTS["k3s"](replace(WISH, falls_back=False)))
    assert "--disable-default-registry-endpoint" in said


def test_buildkit_has_a_mirror_for_each_name_and_leave_for_http() -> None:
    """Each registry has the mirror, and the mirror's own entry says how to speak to it."""
    assert _only("buildkit", WISH)["registry"] == {
        **{name: {"mirrors": ["cache.example.com:5000"]} for name in WISH.names},
        "cache.example.com:5000": {"http": True},
    }
    files = _files("buildkit", TLS)
    document = tomllib.loads(files["/etc/buildkit/buildkitd.toml"])
    (authority,) = document["registry"]["cache.example.com:5000"]["ca"]
    assert files[authority] == PEM


# -- daemon.json that is there already -------------------------------------------------

OURS = '{"registry-mirrors": ["http://a:1"], "insecure-registries": ["a:1"]}'


def test_what_daemon_json_says_stays() -> None:
    """Ours come first in the lists, and everything else is as it was, in its order."""
    present = '{"log-driver": "journald", "registry-mirrors": ["https://b"], "debug": true}'
    result = json.loads(merged(present, OURS))
    assert result == {
        "log-driver": "journald",
        "registry-mirrors": ["http://a:1", "https://b"],
        "debug": True,
        "insecure-registries": ["a:1"],
    }
    assert list(result) == ["log-driver", "registry-mirrors", "debug", "insecure-registries"]


def test_a_daemon_json_that_has_it_is_not_touched() -> None:
    """Neither its order nor its spaces change, wherever in the lists ours are."""
    present = '{"registry-mirrors":["https://b","http://a:1"], "insecure-registries":["a:1"]}'
    assert merged(present, OURS) == present
    assert json.loads(merged("", OURS)) == json.loads(OURS)


@pytest.mark.parametrize(
    ("present", "said"),
    [("[]", "no JSON object"), ('{"registry-mirrors": "x"}', "is no list"), ("{", "Expecting")],
)
def test_a_daemon_json_that_is_none_is_refused(present: str, said: str) -> None:
    """What cannot be added to is said, not guessed."""
    with pytest.raises(ValueError, match=said):
        merged(present, OURS)
