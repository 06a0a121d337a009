"""The API's description, for programs: OpenAPI 3.1, made from the values it answers with."""

import typing
from typing import Any

import msgspec

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.savings import Order, Period, Repositories, Savings
from cacheproxy.ops.api.model import (
    Eviction,
    Failure,
    PurgeRequest,
    PushAccepted,
    Status,
    WarmRequest,
)
from cacheproxy.ops.api.reports import Explanation, PlanReport, PurgeReport
from cacheproxy.ops.api.work import PLAN_LINES, SCRUB_LINES, ScrubRequest

_REFERENCE = "#/components/schemas/{name}"
_LINES = "application/x-ndjson"
_FREE_FORM: dict[str, Any] = {"type": "object"}
_MODEL = (
    *PLAN_LINES.values(),
    *SCRUB_LINES.values(),
    ScrubRequest,
    Explanation,
    PurgeReport,
    Status,
    Savings,
    Repositories,
    Eviction,
    PurgeRequest,
    WarmRequest,
    PushAccepted,
    Failure,
)


def document(version: str) -> dict[str, Any]:
    """The OpenAPI document of this server."""
    schemas, components = msgspec.json.schema_components(
        _MODEL, schema_hook=_schema_of, ref_template=_REFERENCE
    )
    named = dict(zip(_MODEL, schemas, strict=True))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cacheproxy admin API",
            "version": version,
            "description": "What the cache saves and does, and what may be done to it. Sizes are "
            "bytes, times seconds since the epoch, durations seconds.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": _paths(named),
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schema_of(kind: type) -> dict[str, Any]:
    """Of kinds of text that msgspec does not know."""
    if kind is Digest:
        return {"type": "string", "pattern": "^sha(256|512):[0-9a-f]{64,128}$"}
    raise NotImplementedError


def _paths(named: dict[type, dict[str, Any]]) -> dict[str, Any]:
    period = _parameter("period", _words(Period), "Since midnight UTC, 7 days, 35 days, all time.")
    limit = _parameter("limit", {"type": "integer", "minimum": 1}, "How many at most.")
    return {
        "/status": {"get": _drawn(_read("What goes on now.", named[Status]))},
        "/figures": {
            "get": _drawn(_read("What the page shows as counted.", _figures(named), period))
        },
        "/savings": {"get": _read("What was saved.", named[Savings], period)},
        "/repositories": {
            "get": _read(
                "Where it was saved; an empty repository is the rest of its upstream.",
                named[Repositories],
                period,
                _parameter("order", _words(Order), "Of what the most."),
                limit,
            )
        },
        "/eviction": {"get": _read("What would go next.", named[Eviction], limit)},
        "/explain": {
            "get": _read(
                "What is cached of an image or digest, and when it goes.",
                named[Explanation],
                _parameter("image", {"type": "string"}, "An image or a digest.", required=True),
            )
        },
        "/plan": {
            "get": _read(
                "What caches of other sizes, or with other policies, would have had to fetch. For "
                f"who accepts only {_LINES}: a line for how far it is, and the plan as the last.",
                named[PlanReport],
                _parameter("max_size", _several(), "Sizes, such as 200GiB."),
                _parameter("policy", _several(), "Policies; by default all."),
                _parameter("since", {"type": "string"}, "Count only this time, such as 7d."),
            )
        },
        "/purge": {
            "post": _done(
                "Remove what is named from the cache.", named[PurgeRequest], named[PurgeReport]
            )
        },
        "/scrub": {
            "post": _done(
                "Read again all that is stored, and take out what is wrong; a line of JSON for "
                "each step, and a summary at the end.",
                named[ScrubRequest],
                _line_of({key: named[kind] for key, kind in SCRUB_LINES.items()}),
                media_type=_LINES,
            )
        },
        "/warm": {
            "post": _done(
                "Have images here; a line of JSON for each step, and a summary at the end.",
                named[WarmRequest],
                _FREE_FORM,
                media_type=_LINES,
            )
        },
        "/hooks/push": {
            "post": {
                **_done(
                    "Tell of a push: what was pushed will be here soon. With the webhook's token, "
                    "as Bearer or as the parameter `token`.",
                    _FREE_FORM,
                    named[PushAccepted],
                    status="202",
                ),
                "parameters": [
                    _parameter("upstream", {"type": "string"}, "The registry's name here."),
                    _parameter("token", {"type": "string"}, "admin.webhook_token."),
                ],
            }
        },
    }


def _read(summary: str, schema: dict[str, Any], *parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": _answer(schema), "default": _answer(_failure())},
    }


def _figures(named: dict[type, dict[str, Any]]) -> dict[str, Any]:
    properties = {
        "savings": {"type": "object", "additionalProperties": named[Savings]},
        "by_saved": named[Repositories],
        "by_fetched": named[Repositories],
        "eviction": named[Eviction],
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _drawn(read: dict[str, Any]) -> dict[str, Any]:
    """The same for eyes: whoever accepts nothing but HTML gets parts of the page."""
    read["responses"]["200"]["content"]["text/html"] = {"schema": {"type": "string"}}
    return read


def _done(
    summary: str,
    asked: dict[str, Any],
    answer: dict[str, Any],
    *,
    media_type: str = "application/json",
    status: str = "200",
) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": {status: _answer(answer, media_type), "default": _answer(_failure())},
    }


def _answer(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {"description": "", "content": {media_type: {"schema": schema}}}


def _line_of(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One of them, under the key that says which."""
    return {"type": "object", "properties": schemas, "maxProperties": 1}


def _failure() -> dict[str, Any]:
    return {"$ref": _REFERENCE.format(name="Failure")}


def _parameter(
    name: str, schema: dict[str, Any], description: str, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": description,
        "schema": schema,
    }


def _words(kind: object) -> dict[str, Any]:
    return {"type": "string", "enum": list(typing.get_args(kind))}


def _several() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}}
