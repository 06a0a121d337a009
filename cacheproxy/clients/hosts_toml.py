"""containerd's `hosts.toml`, which Docker Engine reads too.

Source: docs/hosts.md of containerd. What stands under `[host]` is asked first; `server` is asked
last, and is the registry itself where it is not given.
"""

from cacheproxy.clients.setup import Wish

# A node must not wait the 30 seconds of the default for each request while the proxy is gone.
_DIAL_TIMEOUT = "2s"


def hosts_toml(wish: Wish, authority: str) -> str:
    """The file's content.

    Args:
        wish: what it is for.
        authority: where the file with the proxy's authority is, if there is one.
    """
    lines = [] if wish.falls_back else [f'server = "{wish.url}"', ""]
    lines += [
        f'[host."{wish.url}"]',
        '  capabilities = ["pull", "resolve"]',
        f'  dial_timeout = "{_DIAL_TIMEOUT}"',
    ]
    if wish.authority is not None:
        lines.append(f'  ca = "{authority}"')
    return "\n".join(lines) + "\n"
