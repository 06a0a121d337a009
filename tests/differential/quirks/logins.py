"""Quirks of challenges and tokens."""

import re
from collections.abc import Callable
from typing import Any

from tests.differential.faults import EditedHeader, EditedJson
from tests.differential.quirk import Change, Quirk
from tests.support.scripted_registry import Match, StatusFault


def _challenged(edit: Callable[[str], str]) -> tuple[Change, ...]:
    return (Change(EditedHeader("WWW-Authenticate", edit), where="challenge"),)


def _edit_token(edit: Callable[[dict[str, Any]], dict[str, Any]]) -> tuple[Change, ...]:
    return (Change(EditedJson(edit), where="token"),)


def _without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda token: {name: value for name, value in token.items() if name not in names}


LOGINS = (
    Quirk(
        "basic-only",
        "distribution/distribution#3153",
        "Clients log in with a password at each request; there are no tokens.",
        login="basic",
    ),
    Quirk(
        "token-no-lifetime",
        "moby/buildkit#2055",
        "A token comes without expires_in.",
        _edit_token(_without("expires_in")),
        login="anonymous",
    ),
    Quirk(
        "token-lifetime-is-text",
        "distribution/distribution#1746",
        "A token comes with expires_in as a text.",
        _edit_token(lambda token: {**token, "expires_in": "300"}),
        login="anonymous",
    ),
    Quirk(
        "token-issued-at-is-a-number",
        "moby/moby#20970",
        "A token comes with issued_at as seconds since the epoch.",
        _edit_token(lambda token: {**token, "issued_at": 1457510670}),
        login="anonymous",
    ),
    Quirk(
        "token-as-access-token",
        "containerd/overlaybd#35",
        "A token is called access_token alone.",
        _edit_token(_without("token")),
        login="anonymous",
    ),
    Quirk(
        "token-as-token",
        "containerd/containerd#2157",
        "A token is called token alone.",
        _edit_token(_without("access_token")),
        login="anonymous",
    ),
    Quirk(
        "token-server-redirects",
        "Finsys/dockhand#1428",
        "The token server redirects to another of its own paths.",
        login="user",
        moves_tokens=True,
    ),
    Quirk(
        "challenge-no-service",
        "sapcc/keppel#731",
        "The challenge names no service.",
        _challenged(lambda field: re.sub(r',service="[^"]*"', "", field)),
        login="anonymous",
    ),
    Quirk(
        "challenge-realm-only",
        "google/go-containerregistry#728",
        "The challenge has a realm and nothing else.",
        _challenged(lambda field: field.partition(",")[0]),
        login="user",
    ),
    Quirk(
        "challenge-unquoted",
        "apptainer/singularity#1159",
        "The scope in the challenge has no quotes.",
        _challenged(lambda field: re.sub(r'scope="([^"]*)"', r"scope=\1", field)),
        login="anonymous",
    ),
    Quirk(
        "challenge-empty-parameter",
        "containerd/containerd#6376",
        "A parameter of the challenge is empty.",
        _challenged(lambda field: field.replace(",service", ',empty="",service')),
        login="anonymous",
    ),
    Quirk(
        "challenge-comma-in-scope",
        "ChangemakerStudios/Docker.Registry.DotNet#7",
        "The scope in the challenge has a comma.",
        _challenged(lambda field: field.replace(':pull"', ':pull,push"')),
        login="anonymous",
    ),
    Quirk(
        "challenge-upper-case",
        "devcontainers/cli#884",
        "The scheme of the challenge is in upper case.",
        _challenged(lambda field: re.sub(r"^(Basic|Bearer)", lambda m: m[0].upper(), field)),
        login="basic",
    ),
    Quirk(
        "challenge-basic-first",
        "prowler-cloud/prowler#12691",
        "A Basic challenge stands before the Bearer challenge in one field.",
        _challenged(lambda field: f'Basic realm="registry", {field}'),
        login="user",
    ),
    Quirk(
        "challenge-negotiate-first",
        "google/go-containerregistry#1075",
        "A challenge that clients do not understand stands before the one that they do.",
        _challenged(lambda field: f"Negotiate, {field}"),
        login="user",
    ),
    Quirk(
        "challenge-only-at-ping",
        "containerd/containerd#3291",
        "Without a login all is 404, but for the ping, which challenges.",
        (Change(StatusFault(404), Match(path_regex="/v2/."), "challenge"),),
        login="user",
    ),
    Quirk(
        "challenge-scope-aws",
        "helm/helm#12491",
        "The challenge names a scope that is no repository's.",
        login="anonymous",
        own_scope="aws",
    ),
    Quirk(
        "challenge-scope-star",
        "ocicl/ocicl#181",
        "The challenge names * as its scope.",
        login="anonymous",
        own_scope="*",
    ),
)
