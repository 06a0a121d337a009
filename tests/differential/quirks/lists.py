"""Quirks in the way of tags and referrers."""

import re

from tests.differential.faults import EditedHeader, EditedJson, OnSuccess, OpaqueCursor
from tests.differential.quirk import ELSEWHERE, Change, Quirk
from tests.support.scripted_registry import Match, StatusFault, WithHeader

_TAGS = Match(path_suffix="/tags/list")
_REFERRERS = Match(path_regex="/referrers/")
_HTML = StatusFault(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Sign in</html>")
_NO_API = {"referrers": False}


def _linked(pattern: str, replacement: str) -> tuple[Change, ...]:
    return (Change(EditedHeader("Link", lambda link: re.sub(pattern, replacement, link)), _TAGS),)


LISTS = (
    Quirk(
        "tags-null",
        "distribution/distribution#1186",
        "A list of no tags is written as null.",
        (Change(OnSuccess(EditedJson(lambda page: {**page, "tags": None})), _TAGS),),
    ),
    Quirk(
        "tags-type-plain",
        "gardener/cc-utils#1603",
        "A list of tags is sent as text/plain.",
        (Change(OnSuccess(WithHeader("Content-Type", "text/plain; charset=utf-8")), _TAGS),),
    ),
    Quirk(
        "tags-login-page",
        "gardener/cc-utils#1603",
        "A list of tags is answered with 200 and a web page.",
        (Change(_HTML, _TAGS),),
    ),
    Quirk(
        "link-inner-host",
        "Katello/katello#10695",
        "The next page is linked by http at a host that only the registry knows.",
        _linked("</v2/", "<http://registry-api/v2/"),
    ),
    Quirk(
        "link-behind-a-gateway",
        "oras-project/artifacts-spec#93",
        "The next page is linked at the registry's own name, behind the gateway's.",
        _linked("</v2/", "<https://myregistry.example:8443/v2/"),
    ),
    Quirk(
        "link-to-metadata",
        "google/go-containerregistry#2332",
        "The next page is linked at a service of the network that clients are in.",
        _linked("</v2/", "<http://169.254.169.254/v2/"),
    ),
    Quirk(
        "link-path-in-front",
        "sonatype/nexus-public#1011",
        "The next page is linked with a path in front that is not served.",
        _linked("</v2/", "<http://127.0.0.1/repository/hub/v2/"),
    ),
    Quirk(
        "link-short-name",
        "renovatebot/renovate#35917",
        "The next page is linked without the first component of the repository's name.",
        _linked("/v2/[a-z]+/", "/v2/"),
    ),
    Quirk(
        "link-opaque-cursor",
        "deitch/docker_registry2#56",
        "The next page is linked by a parameter of its own, with a cursor that is opaque.",
        (Change(OpaqueCursor("next_page"), _TAGS),),
    ),
    Quirk(
        "link-comma-in-cursor",
        "CodesWhat/drydock#927",
        "The cursor of the next page has a comma in it.",
        (Change(OpaqueCursor("last", "v1,"), _TAGS),),
    ),
    Quirk(
        "link-missing",
        "sonatype/nexus-public#209",
        "A list of tags is cut short without a link to the next page.",
        (Change(WithHeader("Link", None), _TAGS),),
    ),
    Quirk(
        "referrers-404",
        "google/go-containerregistry#1647",
        "There is no referrers API; the fallback tag lists them.",
        behaviour=_NO_API,
    ),
    Quirk(
        "referrers-401",
        "goharbor/harbor#18305",
        "The referrers API is answered with 401 and no challenge.",
        (Change(StatusFault(401), _REFERRERS),),
    ),
    Quirk(
        "referrers-406",
        "google/go-containerregistry#1962",
        "The referrers API is answered with 406.",
        (Change(StatusFault(406), _REFERRERS),),
    ),
    Quirk(
        "referrers-login-page",
        "oras-project/oras-go#633",
        "The referrers API is redirected to a login page, which is a 200.",
        (
            Change(StatusFault(307, {"Location": "/signin?continue=x"}), _REFERRERS),
            Change(_HTML, Match(path_suffix="/signin")),
        ),
    ),
    Quirk(
        "referrers-web-interface",
        "artifacthub/hub#4785",
        "The referrers API is redirected to a web interface, which limits its clients.",
        (
            Change(StatusFault(303, {"Location": f"{ELSEWHERE}/-/v2/packages"}), _REFERRERS),
            Change(StatusFault(429), Match(path_suffix="/-/v2/packages"), "storage"),
        ),
    ),
    Quirk(
        "referrers-type-plain",
        "google/go-containerregistry#1760",
        "Referrers are sent as text/plain.",
        (Change(OnSuccess(WithHeader("Content-Type", "text/plain; charset=utf-8")), _REFERRERS),),
    ),
    Quirk(
        "referrers-another-shape",
        "sigstore/sigstore-js#1187",
        "The referrers API is answered with 200 and JSON that is no list.",
        (Change(StatusFault(200, {"Content-Type": "application/json"}, b"{}"), _REFERRERS),),
    ),
    Quirk(
        "referrers-null",
        "oras-project/oras#728",
        "A list of no referrers is written as null.",
        (Change(OnSuccess(EditedJson(lambda page: {**page, "manifests": None})), _REFERRERS),),
    ),
    Quirk(
        "fallback-tag-is-the-subject",
        "oras-project/oras-go#1396",
        "There is no referrers API, and the fallback tag names the image itself.",
        behaviour=_NO_API,
        fallback="subject",
    ),
)
