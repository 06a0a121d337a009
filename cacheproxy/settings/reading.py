"""From a scalar as it was written to a checked value: one function for each kind of value.

Each raises ValueError with a sentence that says what to write instead.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cacheproxy.settings.draft import Scalar
from cacheproxy.settings.problems import nearest, quoted
from cacheproxy.settings.secret import HIDDEN, Secret

T = TypeVar("T")

# What YAML 1.1 takes for booleans, unless it is quoted.
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NAMESPACE = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def scalar(value: object) -> Scalar:
    """The one value that a key must have."""
    match value:
        case Scalar():
            return value
        case None:
            raise ValueError("has no value; write one, or remove the key to get the default")
        case list():
            raise ValueError("must be one value, not a list")
        case _:
            raise ValueError("must be one value, not a section")


def text(value: object) -> str:
    """A text on one line. What is written is taken: `no` and `1.10` need no quotes."""
    written = scalar(value).text
    if not written:
        raise ValueError("is empty; write a value, or remove the key to get the default")
    if _CONTROL.search(written):
        raise ValueError("must not contain line ends or other control characters")
    return written


def parsed(parse: Callable[[str], T]) -> Callable[[object], T]:
    """A reader of texts that `parse` turns into values."""
    return lambda value: parse(text(value))


def whole(lowest: int, highest: int) -> Callable[[object], int]:
    """A reader of whole decimal numbers within bounds, both included."""

    def read(value: object) -> int:
        written = scalar(value)
        if written.quoted:
            raise ValueError(f"must be a number, without quotes: {quoted(written.text)}")
        if _WHOLE.fullmatch(written.text) is None:
            raise ValueError(f"{quoted(written.text)} is not a whole number in decimal digits")
        if not lowest <= int(written.text) <= highest:
            raise ValueError(f"{written.text} is not within {lowest} and {highest}")
        return int(written.text)

    return read


def workers(cores: Callable[[], int | None]) -> Callable[[object], int]:
    """A reader of a number of processes, or `auto`: one for each of the cores."""
    number = whole(1, 1024)
    return lambda value: (cores() or 1) if scalar(value).text == "auto" else number(value)


def flag(value: object) -> bool:
    """A boolean: `true` or `false`, or YAML 1.1's other words for them, without quotes."""
    written = scalar(value)
    if written.quoted or written.text.lower() not in _BOOLEANS:
        raise ValueError(f"{quoted(written.text)} is not true or false (written without quotes)")
    return _BOOLEANS[written.text.lower()]


def choice(*allowed: str) -> Callable[[object], str]:
    """A reader of one of a few words."""

    def read(value: object) -> str:
        word = text(value)
        if word in allowed:
            return word
        near = nearest(word.lower(), allowed)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"{quoted(word)} is not one of {', '.join(allowed)}{hint}")

    return read


def path(value: object) -> Path:
    """A path, taken as it is: relative ones are relative to the current directory."""
    written = text(value)
    if written.startswith("~"):
        raise ValueError(f"{quoted(written)} would not be expanded; write the whole path")
    return Path(written)


def secret(value: object) -> Secret:
    """A secret; messages never repeat it."""
    written = scalar(value).text
    if not written:
        raise ValueError("is empty; write the secret, or remove the section")
    if written == HIDDEN:
        raise ValueError(f"is {HIDDEN}, which only stands for a hidden secret; write the secret")
    return Secret(written)


def username(value: object) -> str:
    """A user's name, as HTTP's Basic scheme can send it (RFC 7617)."""
    written = text(value)
    if ":" in written:
        raise ValueError(f"{quoted(written)} must not contain ':'")
    return written


def namespace(value: object) -> str:
    """One component of a repository's name."""
    written = text(value)
    if _NAMESPACE.fullmatch(written) is None:
        raise ValueError(f"{quoted(written)} is not one component of a repository's name")
    return written


def pattern(value: object) -> str:
    """A pattern over repository names; whether it is a useful one cannot be seen from it."""
    written = text(value)
    if re.fullmatch(r"[a-z0-9._/*?-]+", written) is None:
        raise ValueError(
            f"{quoted(written)} matches no repository: their names have only "
            "lower-case letters, digits and . _ - / (and a pattern * ** ?)"
        )
    if written.startswith("/") or written.endswith("/"):
        raise ValueError(f"{quoted(written)} must not begin or end with '/'")
    return written


def reference_pattern(value: object) -> str:
    """A pattern over references with their tags, such as `docker.io/library/pause:*`."""
    written = text(value)
    if re.fullmatch(r"[A-Za-z0-9._/*?:-]+", written) is None:
        raise ValueError(
            f"{quoted(written)} matches no reference; write REGISTRY/NAME:TAG with * ** ?, "
            "such as docker.io/library/pause:*"
        )
    if not re.search(r"[:*]", written):
        raise ValueError(f"{quoted(written)} has no tag; write {written}:* for all of them")
    return written


def metadata_url(value: object) -> str:
    """Where metadata is kept; the message never repeats what may hold a password."""
    written = text(value)
    if written in ("embedded:", "memory:"):
        return written
    scheme = written.partition(":")[0]
    if re.fullmatch(r"(redis|rediss|valkey|unix)(\+[a-z]+)?", scheme):
        raise ValueError(f"{scheme}: is not available in this version yet; use embedded:")
    if written in ("embedded", "memory"):
        raise ValueError(f"{quoted(written)} lacks its colon; write '{written}:'")
    raise ValueError("is not a known kind of store; use 'embedded:'")


def header_size(parse: Callable[[str], int]) -> Callable[[object], int]:
    """A reader of the size that request headers may have."""

    def read(value: object) -> int:
        written = text(value)
        size = parse(written)
        if not 1024 <= size <= 1024 * 1024:
            raise ValueError(f"{quoted(written)} is not within 1KiB and 1MiB")
        return size

    return read
