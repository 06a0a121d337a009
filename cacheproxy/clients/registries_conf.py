"""`registries.conf` (version 2) of containers/image: podman, CRI-O, skopeo, buildah.

Source: containers-registries.conf(5). A mirror is asked before its registry, by a location that
has the registry's name in its path: no `ns` is sent.
"""

from cacheproxy.clients.setup import ClientFile, Served, Wish, authority_file

_ROOT = "/etc/containers"


def files(wish: Wish) -> tuple[ClientFile, ...]:
    """An entry for each registry by each of its names, and the proxy's authority."""
    entries = [_entry(wish, served, name) for served in wish.served for name in served.names]
    return (
        ClientFile(f"{_ROOT}/registries.conf.d/cacheproxy.conf", "\n".join(entries)),
        *authority_file(wish, f"{_ROOT}/certs.d/{wish.registry}/ca.crt"),
    )


def _entry(wish: Wish, served: Served, name: str) -> str:
    proxied = f'location = "{wish.registry}/{served.name}"'
    # Of the entry that it stands under: the registry itself is spoken to as before.
    insecure = ["insecure = true"] if wish.is_plain else []
    lines = ["[[registry]]", f'prefix = "{name}"']
    if wish.falls_back:
        lines += [f'location = "{name}"', "", "[[registry.mirror]]"]
    return "\n".join([*lines, proxied, *insecure]) + "\n"
