"""What a request to the admin API asks for, read once."""

import typing
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from cacheproxy.ops.api.encoding import decode

T = TypeVar("T")

_LONGEST_BODY = 1024 * 1024


class AskedWronglyError(Exception):
    """A request that cannot be answered as it is; its message says what to change."""


def word(request: web.BaseRequest, name: str, kind: object, default: str) -> str:
    """A parameter that is one of a few words."""
    allowed: Sequence[str] = typing.get_args(kind)
    value = request.query.get(name, default)
    if value not in allowed:
        raise AskedWronglyError(f"{name} is one of {', '.join(allowed)}")
    return value


def number(request: web.BaseRequest, name: str, default: int, most: int) -> int:
    """A parameter that is a whole number, from 1 on."""
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise AskedWronglyError(f"{name} is a number from 1 to {most}")
    return int(value)


def text(request: web.BaseRequest, name: str) -> str:
    """A parameter that must be there."""
    value = request.query.get(name, "")
    if not value:
        raise AskedWronglyError(f"the parameter {name} is missing")
    return value


async def body(request: web.BaseRequest, kind: type[T]) -> T:
    """The body, as one of the API's values."""
    raw = await raw_body(request)
    try:
        return decode(raw, kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AskedWronglyError(f"the body is not understood: {error}") from None


async def raw_body(request: web.BaseRequest) -> bytes:
    """The body as it came, if it is not too long."""
    received = bytearray()
    async for chunk in request.content.iter_any():
        received += chunk
        if len(received) > _LONGEST_BODY:
            raise AskedWronglyError(f"the body is longer than {_LONGEST_BODY} bytes")
    return bytes(received)
