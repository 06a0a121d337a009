"""skopeo: copies what a registry has into a directory, byte for byte."""

import json
from pathlib import Path

from tests.support import images
from tests.support.parts.process import require
from tests.support.parts.program import run
from tests.support.parts.scratch import scratch

PACKAGE = "skopeo"


def rootless(home: Path) -> dict[str, str]:
    """Environment that keeps what containers/image remembers in `home`, for root as well.

    It would be /var/lib/containers/cache and /run/user otherwise, whatever the options say.
    """
    home.mkdir(exist_ok=True)
    directories = dict.fromkeys(["XDG_DATA_HOME", "XDG_RUNTIME_DIR"], str(home))
    return {"_CONTAINERS_ROOTLESS_UID": "65534"} | directories


class Skopeo:
    """skopeo without memory: each pull knows nothing of the one before."""

    def __init__(self) -> None:
        self._program = require("skopeo", PACKAGE)

    def pull(self, reference: str) -> dict[str, bytes]:
        """Pulls all platforms of `HOST/REPOSITORY:TAG`.

        Returns:
            Manifests and blobs by their digest, as computed from what arrived.
        """
        with scratch() as directory:
            target = directory / "image"
            argv = [self._program, "--insecure-policy", "copy", "--quiet", "--all"]
            argv += ["--preserve-digests", "--src-tls-verify=false"]
            argv += [f"docker://{reference}", f"dir:{target}"]
            run(argv, env=rootless(directory / "home"))
            files = [path for path in target.iterdir() if path.name != "version"]
            return {images.sha256(body): body for body in (path.read_bytes() for path in files)}

    def tags(self, repository: str) -> list[str]:
        """The tags that `HOST/REPOSITORY` lists."""
        with scratch() as directory:
            argv = [self._program, "list-tags", "--tls-verify=false", f"docker://{repository}"]
            listed = json.loads(run(argv, env=rootless(directory)))
        tags: list[str] = listed["Tags"]
        return tags
