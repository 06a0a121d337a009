"""podman, and with it skopeo and buildah."""

from cacheproxy.clients.registries_conf import files
from cacheproxy.clients.setup import SEEN, Setup, Wish, probe_image


def setup(wish: Wish) -> Setup:
    """The files of podman, skopeo and buildah."""
    return Setup(
        files(wish),
        (
            "No restart: podman, skopeo and buildah read the file at each pull. Who has a "
            "~/.config/containers/registries.conf reads that one's directory instead: write "
            "there for such a user.",
            f"Check: podman pull {probe_image(wish)}. {SEEN}",
        ),
    )
