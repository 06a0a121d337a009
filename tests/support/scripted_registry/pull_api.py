"""The pull half of the distribution API, over contents in memory, as distribution 2.8 speaks it."""

from dataclasses import dataclass
from typing import Any, assert_never
from urllib.parse import urlencode

from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.support.scripted_registry.answer import Answer, Asked
from tests.support.scripted_registry.contents import Contents, Manifest, Repository
from tests.support.scripted_registry.oci_errors import API_VERSION, json_answer, oci_error
from tests.support.scripted_registry.ranges import ranged
from tests.support.scripted_registry.routes import Route, route, well_formed

_OCI_NAMES = {OCI_MANIFEST: ("manifest", "manifests"), OCI_INDEX: ("index", "indexes")}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Where registries differ.

    `strict_accept`: an OCI type that Accept does not name is 404, and a tag's Docker list becomes
    its linux/amd64 manifest for those who do not name lists (distribution does both).
    `paginates`: tags/list honours `n` and `last` (distribution 2.8 does not).
    `referrers`: there is a referrers API; without it, it is 404. `filters`: it applies
    `artifactType` and says so.
    """

    strict_accept: bool = True
    paginates: bool = True
    referrers: bool = True
    filters: bool = True


class PullApi:
    """Answers one request at a time; knows nothing of connections."""

    def __init__(self, contents: Contents, behaviour: Behaviour) -> None:
        self._contents = contents
        self._behaviour = behaviour

    def respond(self, asked: Asked) -> Answer:
        """The answer to a request."""
        found = route(asked.path)
        if found is None or (found.kind == "referrers" and not self._behaviour.referrers):
            return Answer(404, (("Content-Type", "text/plain"), API_VERSION), b"404 not found\n")
        allowed = ("GET",) if found.kind == "tags" else ("GET", "HEAD")
        if asked.method not in allowed:
            refused = oci_error(405, "UNSUPPORTED", "The operation is unsupported.")
            return refused.having("Allow", ", ".join(allowed))
        match found.kind:
            case "ping":
                return _pong()
            case "manifests":
                return self._manifest(found, asked)
            case "blobs":
                return self._blob(found, asked)
            case "tags":
                return self._tags(found, asked)
            case "referrers":
                return self._referrers(found, asked)
            case _:
                assert_never(found.kind)

    def _manifest(self, found: Route, asked: Asked) -> Answer:
        if found.by_digest and not well_formed(found.reference):
            return oci_error(400, "DIGEST_INVALID", "provided digest is malformed")
        repository = self._contents.find(found.repository)
        manifest = repository.manifest(found.reference) if repository else None
        if repository is None or manifest is None:
            detail = {"Tag": found.reference}
            return oci_error(404, "MANIFEST_UNKNOWN", "manifest unknown", detail)
        if self._behaviour.strict_accept:
            return _negotiated(repository, manifest, found, asked)
        return _manifest_answer(manifest, asked)

    def _blob(self, found: Route, asked: Asked) -> Answer:
        if not well_formed(found.reference):
            return oci_error(400, "DIGEST_INVALID", "provided digest is malformed")
        repository = self._contents.find(found.repository)
        body = repository.blobs.get(found.reference) if repository else None
        if body is None:
            return oci_error(404, "BLOB_UNKNOWN", "blob unknown to registry", found.reference)
        headers = _headers(found.reference, "application/octet-stream")
        headers += (("Accept-Ranges", "bytes"), ("Cache-Control", "max-age=31536000"))
        return _unless_known(ranged(Answer(200, headers, body), asked), asked)

    def _tags(self, found: Route, asked: Asked) -> Answer:
        repository = self._contents.find(found.repository)
        if repository is None:
            detail = {"name": found.repository}
            return oci_error(404, "NAME_UNKNOWN", "repository name not known to registry", detail)
        tags = sorted(repository.tags)
        if self._behaviour.paginates:
            return _page(found.repository, tags, asked)
        return json_answer({"name": found.repository, "tags": tags})

    def _referrers(self, found: Route, asked: Asked) -> Answer:
        if not well_formed(found.reference):
            return oci_error(400, "DIGEST_INVALID", "provided digest is malformed")
        repository = self._contents.find(found.repository) or Repository()
        descriptors = repository.referrers(found.reference)
        kind = asked.query.get("artifactType")
        if kind is None or not self._behaviour.filters:
            return _index(descriptors)
        chosen = [each for each in descriptors if each["artifactType"] == kind]
        return _index(chosen).having("OCI-Filters-Applied", "artifactType")


def _pong() -> Answer:
    headers = (("Content-Type", "application/json; charset=utf-8"), API_VERSION)
    return Answer(200, headers, b"{}")


def _index(descriptors: list[dict[str, Any]]) -> Answer:
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
    return json_answer(document).having("Content-Type", OCI_INDEX)


def _page(name: str, tags: list[str], asked: Asked) -> Answer:
    last, wanted = asked.query.get("last"), asked.query.get("n")
    if wanted is not None and not (wanted.isascii() and wanted.isdigit()):
        return oci_error(400, "PAGINATION_NUMBER_INVALID", "invalid number of results requested")
    rest = [tag for tag in tags if last is None or tag > last]
    page = rest if wanted is None else rest[: int(wanted)]
    answer = json_answer({"name": name, "tags": page})
    if not page or len(page) == len(rest):
        return answer
    query = urlencode({"last": page[-1], "n": wanted})
    return answer.having("Link", f'</v2/{name}/tags/list?{query}>; rel="next"')


def _negotiated(repository: Repository, manifest: Manifest, found: Route, asked: Asked) -> Answer:
    accepted = _accepted(asked)
    if manifest.media_type in _OCI_NAMES and manifest.media_type not in accepted:
        one, many = _OCI_NAMES[manifest.media_type]
        message = f"OCI {one} found, but accept header does not support OCI {many}"
        return oci_error(404, "MANIFEST_UNKNOWN", message)
    if manifest.media_type == DOCKER_LIST and not found.by_digest and DOCKER_LIST not in accepted:
        child = _for_linux_amd64(repository, manifest)
        if child is None:
            return oci_error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        return _manifest_answer(child, asked)
    return _manifest_answer(manifest, asked)


def _accepted(asked: Asked) -> set[str]:
    values = ",".join(asked.headers.getall("Accept", []))
    return {value.partition(";")[0].strip() for value in values.split(",")}


def _for_linux_amd64(repository: Repository, manifest: Manifest) -> Manifest | None:
    for child in manifest.document.get("manifests", []):
        platform = child.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            found = repository.manifests.get(child["digest"])
            if found is not None and found.media_type == DOCKER_MANIFEST:
                return found
    return None


def _manifest_answer(manifest: Manifest, asked: Asked) -> Answer:
    headers = _headers(manifest.digest, manifest.media_type)
    return _unless_known(Answer(200, headers, manifest.body), asked)


def _headers(digest: str, media_type: str) -> tuple[tuple[str, str], ...]:
    return (
        ("Content-Type", media_type),
        ("Docker-Content-Digest", digest),
        API_VERSION,
        ("Etag", f'"{digest}"'),
    )


def _unless_known(answer: Answer, asked: Asked) -> Answer:
    """A 304 for a client that has it already."""
    known = asked.headers.get("If-None-Match")
    if known is None or known != answer.header("Etag"):
        return answer
    return Answer(304, answer.lacking("Content-Type").headers)
