"""From a scalar as it was written to a checked value: one function for each kind of value.

Each raises ValueError with a sentence that says what to write instead.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from cacheproxy.domain.platforms import Platforms
from cacheproxy.domain.redis_url import RedisUrl, is_redis, parse_redis_url
from cacheproxy.settings.draft import Scalar
from cacheproxy.settings.problems import nearest, quoted
from cacheproxy.settings.secret import HIDDEN, Secret

T = TypeVar("T")

# Of credentials; and what some of them need besides: the modules, and what to install, as in
# the extras of pyproject.toml.
PROVIDERS = ("password", "docker-config", "exec", "ecr", "google", "acr")
_PACKAGES = {
    "ecr": (("botocore",), "botocore>=1.40"),
    "google": (("google.auth", "requests"), "google-auth[requests]>=2.40"),
    "acr": (("azure.identity",), "azure-identity>=1.25"),
}

# What YAML 1.1 takes for booleans, unless it is quoted.
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_AMOUNT = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
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


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A reader of texts that `parse` turns into values."""

    parse: Callable[[str], T]

    def __call__(self, value: object) -> T:
        """Read it."""
        return self.parse(text(value))


@dataclass(frozen=True, slots=True)
class Whole:
    """A reader of whole decimal numbers within bounds, both included."""

    lowest: int
    highest: int

    def __call__(self, value: object) -> int:
        """Read it."""
        written = scalar(value)
        if written.quoted:
            raise ValueError(f"must be a number, without quotes: {quoted(written.text)}")
        if _WHOLE.fullmatch(written.text) is None:
            raise ValueError(f"{quoted(written.text)} is not a whole number in decimal digits")
        if not self.lowest <= int(written.text) <= self.highest:
            raise ValueError(f"{written.text} is not within {self.lowest} and {self.highest}")
        return int(written.text)


@dataclass(frozen=True, slots=True)
class WholeOrAuto:
    """A reader of whole numbers, or of `auto`: as many as `automatic` says, at least one."""

    number: Whole
    automatic: Callable[[], int | None]

    def __call__(self, value: object) -> int:
        """Read it."""
        return (self.automatic() or 1) if scalar(value).text == "auto" else self.number(value)


def parsed(parse: Callable[[str], T]) -> Parsed[T]:
    """A reader of texts that `parse` turns into values."""
    return Parsed(parse)


def whole(lowest: int, highest: int) -> Whole:
    """A reader of whole decimal numbers within bounds, both included."""
    return Whole(lowest, highest)


def workers(cores: Callable[[], int | None]) -> WholeOrAuto:
    """A reader of a number of processes, or `auto`: one for each of the cores."""
    return WholeOrAuto(whole(1, 1024), cores)


def flag(value: object) -> bool:
    """A boolean: `true` or `false`, or YAML 1.1's other words for them, without quotes."""
    written = scalar(value)
    if written.quoted or written.text.lower() not in _BOOLEANS:
        raise ValueError(f"{quoted(written.text)} is not true or false (written without quotes)")
    return _BOOLEANS[written.text.lower()]


def flag_or(word: str) -> Callable[[object], bool | str]:
    """A reader of a boolean, or of a word in its stead."""

    def read(value: object) -> bool | str:
        written = scalar(value)
        if written.text.lower() == word:
            return word
        if written.quoted or written.text.lower() not in _BOOLEANS:
            raise ValueError(f"{quoted(written.text)} is not true, false or {word}")
        return _BOOLEANS[written.text.lower()]

    return read


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


def amount(value: object) -> float:
    """A sum of money: a decimal number that is not negative."""
    written = scalar(value)
    if written.quoted:
        raise ValueError(f"must be a number, without quotes: {quoted(written.text)}")
    if _AMOUNT.fullmatch(written.text) is None:
        raise ValueError(f"{quoted(written.text)} is not a decimal number, such as 0.09")
    return float(written.text)


def path(value: object) -> Path:
    """A path, taken as it is: relative ones are relative to the current directory."""
    written = text(value)
    if written.startswith("~"):
        raise ValueError(f"{quoted(written)} would not be expanded; write the whole path")
    return Path(written)


def home_path(value: object) -> Path:
    """A path that may begin with `~/`, the home directory of the user that we run as."""
    written = text(value)
    if written.startswith("~") and not written.startswith("~/"):
        raise ValueError(f"{quoted(written)} would not be expanded; write ~/ or the whole path")
    return Path(written)


def provider(value: object) -> str:
    """A way of getting a login; one whose package is missing says what to install."""
    word = choice(*PROVIDERS)(value)
    modules, requirement = _PACKAGES.get(word, ((), ""))
    if not all(_is_installed(module) for module in modules):
        raise ValueError(
            f"{word} needs a package that is not installed: pip install '{requirement}'"
        )
    return word


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is in
        return False


def region(value: object) -> str:
    """An AWS region."""
    written = text(value)
    if re.fullmatch(r"[a-z]{2,8}(-[a-z0-9]{1,16}){2,4}", written) is None:
        raise ValueError(f"{quoted(written)} is not a region; write one such as eu-west-1")
    return written


def client_id(value: object) -> str:
    """The client ID of an identity at Azure."""
    written = text(value)
    if re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", written) is None:
        raise ValueError(
            f"{quoted(written)} is not a client ID; write one such as "
            "01234567-89ab-cdef-0123-456789abcdef"
        )
    return written


def secret(value: object) -> Secret:
    """A secret; messages never repeat it."""
    found = scalar(value)
    if not found.text:
        raise ValueError("is empty; write the secret, or remove the section")
    if found.text == HIDDEN:
        raise ValueError(f"is {HIDDEN}, which only stands for a hidden secret; write the secret")
    return Secret(found.text, found.file)


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


def tag_pattern(value: object) -> str:
    """A pattern over tags, such as `v*`, or with their repositories, such as `team/**:v*`."""
    written = text(value)
    name, colon, tag = written.rpartition(":")
    if re.fullmatch(r"[A-Za-z0-9._*?-]+", tag) is None:
        raise ValueError(
            f"{quoted(written)} matches no tag; write TAG or REPOSITORY:TAG with * ** ?, "
            "such as v* or team/**:latest"
        )
    if colon:
        pattern(Scalar(name))
    return written


def image(value: object) -> str:
    """An image's name; whether its upstream is configured is looked at when all is read."""
    written = text(value)
    if re.search(r"[*?]", written):
        raise ValueError(
            f"{quoted(written)} must be one image, without * and ?; a webhook tells of new tags"
        )
    return written


def platform(value: object) -> str:
    """A platform, or `all`."""
    written = text(value)
    Platforms.parse([written])
    return written


def metadata_url(value: object) -> str | RedisUrl:
    """Where metadata is kept; the message never repeats what may hold a password."""
    written = text(value)
    if written in ("embedded:", "memory:"):
        return written
    if is_redis(written):
        return parse_redis_url(written)
    if written in ("embedded", "memory"):
        raise ValueError(f"{quoted(written)} lacks its colon; write '{written}:'")
    raise ValueError("is not a known kind of store; use 'embedded:', or redis://host:6379/0")


def header_size(parse: Callable[[str], int]) -> Callable[[object], int]:
    """A reader of the size that request headers may have."""

    def read(value: object) -> int:
        written = text(value)
        size = parse(written)
        if not 1024 <= size <= 1024 * 1024:
            raise ValueError(f"{quoted(written)} is not within 1KiB and 1MiB")
        return size

    return read


def log_size(parse: Callable[[str], int]) -> Callable[[object], int]:
    """A reader of the size that a log may have in all; 0 for none."""

    def read(value: object) -> int:
        written = text(value)
        size = 0 if written.strip() == "0" else parse(written)
        if 0 < size < 1024 * 1024:
            raise ValueError(f"{quoted(written)} is too small; write 1MiB or more, or 0 for none")
        return size

    return read
