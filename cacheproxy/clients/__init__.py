"""The configuration of container clients for this proxy, as values: files, and what to do then.

One module for each client. Nothing here reads or writes a file.
"""

from collections.abc import Callable, Mapping

from cacheproxy.clients import buildkit, containerd, crio, docker, k3s, podman
from cacheproxy.clients.setup import Setup, Wish

CLIENTS: Mapping[str, Callable[[Wish], Setup]] = {
    "containerd": containerd.setup,
    "docker": docker.setup,
    "podman": podman.setup,
    "crio": crio.setup,
    "k3s": k3s.setup,
    "buildkit": buildkit.setup,
}
"""What is to be set up for each of them, by its name on the command line."""
