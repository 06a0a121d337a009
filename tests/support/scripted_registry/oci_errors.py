"""Errors as the distribution spec writes them."""

import json
from typing import Any

from tests.support.scripted_registry.answer import Answer

API_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")
_JSON = ("Content-Type", "application/json; charset=utf-8")


def oci_error(status: int, code: str, message: str, detail: Any = None) -> Answer:
    """One error in the spec's shape, with distribution's headers."""
    error: dict[str, Any] = {"code": code, "message": message}
    if detail is not None:
        error["detail"] = detail
    return json_answer({"errors": [error]}, status=status)


def json_answer(document: Any, *, status: int = 200) -> Answer:
    """A JSON document, ended by a line feed as Go's encoder does."""
    body = json.dumps(document, separators=(",", ":")).encode() + b"\n"
    return Answer(status, (_JSON, API_VERSION), body)
