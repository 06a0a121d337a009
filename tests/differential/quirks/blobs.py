"""Quirks in the way of a blob."""

from tests.differential.faults import CutAtHalf, Length, OnlyClosedRanges, OnSuccess, OtherRange
from tests.differential.quirk import Change, Quirk
from tests.support.scripted_registry import (
    IgnoreRange,
    Match,
    NoContentLength,
    Redirect,
    StatusFault,
    Together,
    WithHeader,
)

_ANY = Match(path_regex="/blobs/")
_GET = Match("GET", path_regex="/blobs/")
_HEAD = Match("HEAD", path_regex="/blobs/")
_RANGED = Match("GET", path_regex="/blobs/", ranged=True)
_REDIRECTED = Change(Redirect(), _ANY)

BLOBS = (
    Quirk(
        "head-blob-401",
        "aws/containers-roadmap#2671",
        "HEAD of a blob is answered with 401, whatever token it brings; GET works.",
        (Change(StatusFault(401), _HEAD),),
    ),
    Quirk(
        "head-blob-404",
        "goharbor/harbor#22609",
        "HEAD of a blob is answered with 404; GET works.",
        (Change(StatusFault(404), _HEAD),),
    ),
    Quirk(
        "head-blob-length-0",
        "yusing/godoxy#169",
        "HEAD of a blob has Content-Length: 0.",
        (Change(OnSuccess(Length(0)), _HEAD),),
    ),
    Quirk(
        "head-blob-no-length",
        "distribution/distribution#4895",
        "HEAD of a blob has no Content-Length.",
        (Change(OnSuccess(Length()), _HEAD),),
    ),
    Quirk(
        "blob-redirected",
        "renovatebot/renovate#3877",
        "Blobs are redirected to storage, which refuses an Authorization field.",
        (_REDIRECTED,),
    ),
    Quirk(
        "blob-redirected-relatively",
        "ahmetb/serverless-registry-proxy#8",
        "Blobs are redirected with 302 to a path of the registry's own host.",
        (Change(Redirect(status=302, relative=True), _ANY),),
    ),
    Quirk(
        "blob-url-works-once",
        "containerd/stargz-snapshotter#167",
        "The URL that a blob is redirected to works only once.",
        (Change(Redirect(uses=1), _ANY),),
    ),
    Quirk(
        "storage-refuses-head",
        "moby/moby#50065",
        "Storage answers HEAD with 403, since the URL is signed for GET.",
        (_REDIRECTED, Change(StatusFault(403), Match("HEAD"), "storage")),
    ),
    Quirk(
        "storage-head-400",
        "distribution/distribution#2055",
        "Storage answers HEAD with 400.",
        (_REDIRECTED, Change(StatusFault(400), Match("HEAD"), "storage")),
    ),
    Quirk(
        "storage-encoding-aws-chunked",
        "noobaa/noobaa-core#9138",
        "Storage says Content-Encoding: aws-chunked of bytes that are plain.",
        (
            _REDIRECTED,
            Change(OnSuccess(WithHeader("Content-Encoding", "aws-chunked")), where="storage"),
        ),
    ),
    Quirk(
        "blob-encoding-x-gzip",
        "moby/moby#17595",
        "A layer that is compressed is sent with Content-Encoding: x-gzip.",
        (Change(OnSuccess(WithHeader("Content-Encoding", "x-gzip")), _ANY),),
    ),
    Quirk(
        "blob-chunked",
        "dragonflyoss/dragonfly#4573",
        "Blobs are sent in chunks, without a length.",
        (Change(OnSuccess(NoContentLength()), _GET),),
    ),
    Quirk(
        "blob-until-close",
        "moby/moby#15264",
        "Blobs have no length, and end with the connection.",
        (Change(OnSuccess(NoContentLength(chunked=False)), _GET),),
    ),
    Quirk(
        "blob-type-plain",
        "NotGlop/docker-drag#17",
        "Blobs are sent as text/plain, in chunks.",
        (
            Change(
                OnSuccess(Together(WithHeader("Content-Type", "text/plain"), NoContentLength())),
                _GET,
            ),
        ),
    ),
    Quirk(
        "blob-cut",
        "anchore/stereoscope#695",
        "The connection ends in the middle of a blob; a range brings the rest.",
        (Change(CutAtHalf(), _GET),),
    ),
    Quirk(
        "range-closed-only",
        "anchore/stereoscope#695",
        "A range without an end is answered with 416.",
        (Change(OnlyClosedRanges(), _RANGED),),
    ),
    Quirk(
        "range-unannounced",
        "anchore/stereoscope#695",
        "Ranges work, though no answer has Accept-Ranges.",
        (Change(WithHeader("Accept-Ranges", None), _ANY),),
    ),
    Quirk(
        "range-ignored",
        "getnora-io/nora#654",
        "A range is answered with 200 and the whole.",
        (Change(IgnoreRange(), _ANY),),
    ),
    Quirk(
        "range-refused",
        "giuseppe/crfs-plugin#1",
        "A range is answered with 400.",
        (Change(StatusFault(400), _RANGED),),
    ),
    Quirk(
        "range-of-another-place",
        "openai/tart#1255",
        "A range is answered with 206 and the blob's first bytes.",
        (Change(OtherRange(), _RANGED),),
    ),
    Quirk(
        "blob-is-a-web-page",
        "goharbor/harbor#23882",
        "Blobs are answered with 200 and a web page.",
        (Change(StatusFault(200, {"Content-Type": "text/html"}, b"<html></html>"), _ANY),),
    ),
    Quirk(
        "empty-layer",
        "opencontainers/distribution-spec#482",
        "A layer has no bytes.",
        has_empty_layer=True,
    ),
)
