"""Docker Engine: `daemon.json`, and `certs.d` for the containerd image store."""

import json
from typing import Any

from cacheproxy.clients.hosts_toml import hosts_toml
from cacheproxy.clients.setup import SEEN, ClientFile, Setup, Wish, authority_file

_HUB = "docker.io"
_ROOT = "/etc/docker"
_RELOAD = "Then: systemctl reload docker (or SIGHUP to dockerd). No container is stopped by that."
_STORE = (
    "certs.d/_default/hosts.toml is for the containerd image store (the default of fresh "
    "installations since Docker 29), and covers every registry; other engines ignore it. It is "
    "read at each pull."
)


def setup(wish: Wish) -> Setup:
    """The files of Docker Engine.

    The engine names no registry to a mirror: such requests are of the proxy's default.
    """
    authority = f"{_ROOT}/certs.d/{wish.registry}/ca.crt"
    files = [
        ClientFile(f"{_ROOT}/certs.d/_default/hosts.toml", hosts_toml(wish, authority)),
        *authority_file(wish, authority),
    ]
    keys = _keys(wish)
    if keys:
        document = json.dumps(keys, indent=2) + "\n"
        files.insert(0, ClientFile(f"{_ROOT}/daemon.json", document, "json"))
    steps = (*([_RELOAD] if keys else []), _STORE, *_by_prefix(wish), _check(wish))
    return Setup(tuple(files), steps, tuple(_warnings(wish)))


def merged(present: str, wanted: str) -> str:
    """A daemon.json with ours taken in: lists have ours first, everything else stays.

    Args:
        present: what the file says.
        wanted: what this proxy needs.

    Returns:
        `present` itself where it says all that already.

    Raises:
        ValueError: the file is not a JSON object, or has another kind of value for a list.
    """
    there = json.loads(present) if present.strip() else {}
    if not isinstance(there, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the file, not of the caller
    result: dict[str, Any] = dict(there)
    for key, values in json.loads(wanted).items():
        before = there.get(key, [])
        if not isinstance(before, list):
            raise ValueError(f"its {key} is no list")  # noqa: TRY004 - likewise
        result[key] = before if set(values) <= set(before) else [*dict.fromkeys([*values, *before])]
    return present if result == there else json.dumps(result, indent=2) + "\n"


def _keys(wish: Wish) -> dict[str, list[str]]:
    keys = {}
    mirror = _mirror(wish)
    if mirror is not None:
        keys["registry-mirrors"] = [mirror]
    if wish.is_plain and not wish.is_here:
        keys["insecure-registries"] = [wish.registry]
    return keys


def _mirror(wish: Wish) -> str | None:
    # By the name that images are pulled by as well: certs.d has one directory for both.
    url = f"{'http' if wish.is_plain else 'https'}://{wish.registry}"
    if wish.default == _HUB:
        return url
    served = any(served.name == _HUB for served in wish.served)
    return f"{url}/{_HUB}" if served else None


def _warnings(wish: Wish) -> list[str]:
    warnings = []
    if _mirror(wish) is None:
        warnings.append(
            "docker.io is not among the proxy's upstreams, so registry-mirrors, which is for "
            "Docker Hub only, is left out."
        )
    elif wish.default != _HUB:
        warnings.append(
            "The proxy's default_upstream is not docker.io, so the mirror has a path, which "
            "Docker Engine takes since version 25 only."
        )
    if not wish.falls_back:
        warnings.append(
            "With registry-mirrors Docker Engine always falls back to Docker Hub itself: only "
            "the containerd image store can be kept from it."
        )
    return warnings


def _by_prefix(wish: Wish) -> tuple[str, ...]:
    others = [served.name for served in wish.served if served.name != _HUB]
    if not others:
        return ()
    return (
        "registry-mirrors covers Docker Hub only. Without the containerd image store, other "
        f"registries are pulled by prefix: docker pull {wish.registry}/{others[0]}/REPOSITORY:TAG",
    )


def _check(wish: Wish) -> str:
    image = "hello-world" if _mirror(wish) else f"{wish.names[0]}/REPOSITORY:TAG"
    return f"Check: docker info names the mirror, and docker pull {image} works. {SEEN}"
