"""CRI-O."""

from cacheproxy.clients.registries_conf import files
from cacheproxy.clients.setup import SEEN, Setup, Wish, probe_image


def setup(wish: Wish) -> Setup:
    """The files of CRI-O, which podman on the same machine reads too."""
    return Setup(
        files(wish),
        (
            "Then: systemctl reload crio, on each node.",
            f"Check: crictl pull {probe_image(wish)}. {SEEN}",
        ),
    )
