"""What the two upstream registries hold, built once for all tests of this folder."""

from dataclasses import dataclass

from tests.support import images


@dataclass(frozen=True, slots=True)
class Entry:
    """An image and where it is found; the repository goes without the registry's name."""

    repository: str
    tag: str
    image: images.Image

    @property
    def contents(self) -> dict[str, bytes]:
        """All manifests and blobs by digest: what a complete pull brings."""
        manifests = {part.digest: part.manifest for part in self.image.walk()}
        return manifests | {blob.digest: blob.body for blob in self.image.all_blobs.values()}

    @property
    def blob_bytes(self) -> int:
        """Bytes of the distinct blobs."""
        return sum(len(blob.body) for blob in self.image.all_blobs.values())

    @property
    def manifest_bytes(self) -> int:
        """Bytes of all manifests."""
        return sum(len(part.manifest) for part in self.image.walk())


# Three images with one layer in common: two in the same registry, one in the other.
COMMON = images.layer(7, 300_000)
APP = Entry("library/app", "1", images.image([COMMON, images.layer(8, 50_000)]))
COUSIN = Entry("library/cousin", "1", images.image([COMMON, images.layer(10, 50_000)]))
TEAM_APP = Entry("team/app", "1", images.image([COMMON, images.layer(9, 50_000)]))

INDEX = Entry("library/multi", "1", images.multi_arch(20, 40_000))
ZSTD = Entry("library/zstd", "1", images.zstd_image(21, 40_000))
DOCKER = Entry("library/docker", "1", images.simple(22, 40_000, kind=images.Format.DOCKER))
DOCKER_LIST = Entry("library/docker-list", "1", images.docker_list(23, 40_000))
CHART = Entry("charts/chart", "0.1.1", images.helm_chart(1))
LARGE = Entry("library/large", "1", images.image([images.layer(11, 3_000_000)]))

SIGNATURE = Entry(
    APP.repository, images.attached_tag(APP.image.digest, ".sig"), images.signature(APP.image)
)
SBOM = images.referrer(APP.image)
REFERRERS = Entry(
    APP.repository, images.attached_tag(APP.image.digest), images.referrers_index([SBOM])
)

HUB = (APP, COUSIN, INDEX, ZSTD, DOCKER, DOCKER_LIST, CHART, LARGE, SIGNATURE, REFERRERS)
EXAMPLE = (TEAM_APP,)
