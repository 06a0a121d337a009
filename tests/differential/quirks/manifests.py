"""Quirks in the way of a manifest."""

from tests.differential.faults import EditedHeader, Length, OnSuccess
from tests.differential.quirk import Change, Document, Edit, Quirk
from tests.support.scripted_registry import (
    Match,
    NoContentLength,
    NoDigestHeader,
    OneMoreHeader,
    Redirect,
    StatusFault,
    Together,
    WithHeader,
    WrongDigestHeader,
)

_ANY = Match(path_regex="/manifests/")
_BY_TAG = Match(path_regex="/manifests/[^:]+$")
_BY_DIGEST = Match(path_regex="/manifests/sha256:")
_GET = Match("GET", path_regex="/manifests/")
_HEAD = Match("HEAD", path_regex="/manifests/")


def _typed(value: str | None) -> tuple[Change, ...]:
    return (Change(OnSuccess(WithHeader("Content-Type", value)), _ANY),)


def _with_fields(**fields: str) -> tuple[Change, ...]:
    headers = [OneMoreHeader(name.replace("_", "-"), value) for name, value in fields.items()]
    return (Change(Together(*headers), _ANY),)


def _without_type(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "mediaType"}


def _resized(key: str, change: int) -> Edit:
    """An edit that changes the sizes which descriptors state."""

    def edit(document: Document) -> Document:
        entries = [{**entry, "size": entry["size"] + change} for entry in document[key]]
        return {**document, key: entries}

    return edit


def _with_config(media_type: str) -> Edit:
    """An edit that changes the type which the config's descriptor states."""

    def edit(document: Document) -> Document:
        return {**document, "config": {**document["config"], "mediaType": media_type}}

    return edit


MANIFESTS = (
    Quirk(
        "head-manifest-405",
        "containerd/containerd#5860",
        "HEAD of a manifest is answered with 405; GET works.",
        (Change(StatusFault(405), _HEAD),),
    ),
    Quirk(
        "head-manifest-403",
        "containerd/containerd#6684",
        "HEAD of a manifest is answered with 403; GET works.",
        (Change(StatusFault(403), _HEAD),),
    ),
    Quirk(
        "head-manifest-404",
        "andrey-pohilko/registry-cli#43",
        "HEAD of a manifest is answered with 404; GET works.",
        (Change(StatusFault(404), _HEAD),),
    ),
    Quirk(
        "head-manifest-no-digest",
        "concourse/registry-image-resource#249",
        "HEAD of a manifest has no Docker-Content-Digest.",
        (Change(NoDigestHeader(), _HEAD),),
    ),
    Quirk(
        "head-manifest-length-0",
        "getnora-io/nora#337",
        "HEAD of a manifest has Content-Length: 0.",
        (Change(OnSuccess(Length(0)), _HEAD),),
    ),
    Quirk(
        "head-manifest-no-length",
        "containerd/containerd#3110",
        "HEAD of a manifest has no Content-Length.",
        (Change(OnSuccess(Length()), _HEAD),),
    ),
    Quirk(
        "head-manifest-no-type",
        "containerd/containerd#7390",
        "HEAD of a manifest has no Content-Type.",
        (Change(OnSuccess(WithHeader("Content-Type", None)), _HEAD),),
    ),
    Quirk(
        "head-manifest-bare",
        "goharbor/harbor#13740",
        "HEAD of a manifest has neither Content-Type nor Content-Length.",
        (Change(OnSuccess(Together(WithHeader("Content-Type", None), Length())), _HEAD),),
    ),
    Quirk(
        "manifest-no-digest",
        "containerd/containerd#3238",
        "No answer has Docker-Content-Digest.",
        (Change(NoDigestHeader(), _ANY),),
    ),
    Quirk(
        "get-manifest-no-digest",
        "distribution/distribution#3792",
        "GET of a manifest has no Docker-Content-Digest, though HEAD has.",
        (Change(NoDigestHeader(), _GET),),
    ),
    Quirk(
        "manifest-digest-of-another",
        "distribution/distribution#2395",
        "Docker-Content-Digest of a tag is that of another manifest than the one sent.",
        (Change(OnSuccess(WrongDigestHeader()), _BY_TAG),),
    ),
    Quirk(
        "manifest-only-by-tag",
        "moby/moby#41687",
        "A manifest is found by its tag, but not by the digest that the tag names.",
        (Change(StatusFault(404), _BY_DIGEST),),
    ),
    Quirk(
        "manifest-type-plain",
        "containers/image#417",
        "Manifests are sent as text/plain.",
        _typed("text/plain; charset=utf-8"),
    ),
    Quirk(
        "manifest-type-octet-stream",
        "goharbor/harbor#7853",
        "Manifests are sent as application/octet-stream.",
        _typed("application/octet-stream"),
    ),
    Quirk(
        "manifest-type-html",
        "moby/moby#19526",
        "Manifests are sent as text/html.",
        _typed("text/html"),
    ),
    Quirk(
        "manifest-type-json",
        "containerd/cri#787",
        "Manifests are sent as application/json.",
        _typed("application/json"),
    ),
    Quirk(
        "manifest-type-none",
        "docker/cli#5304",
        "Manifests are sent without a Content-Type.",
        _typed(None),
    ),
    Quirk(
        "manifest-type-parameter",
        "containerd/containerd#3291",
        "The Content-Type of manifests has a charset.",
        (Change(EditedHeader("Content-Type", lambda value: f"{value}; charset=utf-8"), _ANY),),
    ),
    Quirk(
        "manifest-type-upper-case",
        "regclient/regclient#418",
        "The Content-Type of manifests is in upper case.",
        (Change(EditedHeader("Content-Type", str.upper), _ANY),),
    ),
    Quirk(
        "manifest-no-media-type",
        "regclient/regclient#436",
        "Manifests and indexes have no mediaType in them.",
        edits={"manifest": _without_type, "index": _without_type},
    ),
    Quirk(
        "manifest-chunked",
        "oras-project/oras-go#374",
        "Manifests are sent in chunks, without a length.",
        (Change(OnSuccess(NoContentLength()), _GET),),
    ),
    Quirk(
        "manifest-redirected",
        "Katello/katello#8973",
        "Manifests are redirected to storage, which knows nothing of their types.",
        (Change(Redirect(), _ANY),),
    ),
    Quirk(
        "accept-is-strict",
        "NVIDIA/enroot#273",
        "A manifest of a type that Accept does not name is answered with 404.",
        behaviour={"strict_accept": True},
    ),
    Quirk(
        "layer-size-off-by-one",
        "podman-container-tools/skopeo#1054",
        "The manifest says that each layer has one byte more than it has.",
        edits={"manifest": _resized("layers", 1)},
    ),
    Quirk(
        "index-sizes-wrong",
        "rancher/rancher#22415",
        "The index says wrong sizes of its manifests.",
        edits={"index": _resized("manifests", -288)},
    ),
    Quirk(
        "config-type-html",
        "moby/moby#30083",
        "The manifest says that the config is text/html.",
        edits={"manifest": _with_config("text/html")},
    ),
    Quirk(
        "config-type-octet-stream",
        "pulp/pulp_container#1157",
        "The manifest says that the config is application/octet-stream.",
        edits={"manifest": _with_config("application/octet-stream")},
    ),
    Quirk(
        "rate-limit-fields",
        "docker/docs#11707",
        "Answers say how many pulls are left, within a window.",
        _with_fields(RateLimit_Limit="100;w=21600", RateLimit_Remaining="76;w=21600"),
    ),
    Quirk(
        "rate-limit-empty",
        "docker/hub-feedback#2081",
        "The fields that say how many pulls are left have no number.",
        _with_fields(RateLimit_Limit=";w=21600", RateLimit_Remaining=";w=21600"),
    ),
    Quirk(
        "rate-limit-reset",
        "goodwithtech/dockertags#28",
        "Other fields say what is left, and the time at which the count begins anew.",
        _with_fields(
            X_RateLimit_Limit="180",
            X_RateLimit_Remaining="175",
            X_RateLimit_Reset="1613958012",
        ),
    ),
    Quirk(
        "facade",
        "kubernetes/registry.k8s.io#324",
        "Every request is redirected to another registry.",
        facade="open",
    ),
    Quirk(
        "facade-with-token",
        "regclient/regclient#805",
        "Every request is redirected to another registry, which wants a token of its own.",
        facade="token",
    ),
)
