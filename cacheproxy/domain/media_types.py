"""Media types of manifests (OCI image spec, Docker image manifest v2)."""

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT_MANIFEST = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+json"
SIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
OCTET_STREAM = "application/octet-stream"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
SCHEMAS_1 = frozenset({SCHEMA_1, SIGNED_SCHEMA_1})
MANIFESTS = frozenset({OCI_MANIFEST, OCI_ARTIFACT_MANIFEST, DOCKER_MANIFEST})

# What we ask upstream for, whatever our client asked: a registry that is asked for less may
# answer a tag with the linux/amd64 child instead of the index, or with a 404.
ACCEPT = ", ".join(
    (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT_MANIFEST, "*/*;q=0.1")
)


# type-name "/" subtype-name of RFC 6838 §4.2.
_VALID = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
)


def is_valid(text: str) -> bool:
    """Whether `text` can be sent as a Content-Type."""
    return _VALID.fullmatch(text) is not None


def of_manifest(media_type: str | None) -> str | None:
    """Return the type if it is that of a manifest or an index, else None."""
    return media_type if media_type in INDEXES | MANIFESTS else None


def essence(content_type: str | None) -> str | None:
    """The media type without its parameters, in lower case; None where there is none."""
    if not content_type:
        return None
    return content_type.partition(";")[0].strip().lower() or None
