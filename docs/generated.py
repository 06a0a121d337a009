"""The columns of configuration.md that follow from the settings: each key's type and default.

What a key means, and in which order they stand, is written by hand.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import PlainValidator

from cacheproxy.settings import Settings, load, reading
from cacheproxy.settings import addresses as a
from cacheproxy.settings.durations import parse_duration, parse_positive_duration
from cacheproxy.settings.kinds import Shown
from cacheproxy.settings.reading import Parsed, Whole, WholeOrAuto
from cacheproxy.settings.schema import Key, keys_of, unfold
from cacheproxy.settings.sizes import format_bytes, parse_bytes, parse_size
from cacheproxy.settings.well_known import DEFAULT_UPSTREAMS

PAGE = Path(__file__).with_name("configuration.md")

_ROW = re.compile(r"\| `([a-z_.]+)` \| [^|]+ \| [^|]* \| (.*) \|")
# By what reads them; what is not here is a text.
_WORDS: Mapping[Callable[..., object], str] = {
    parse_duration: "duration",
    parse_positive_duration: "duration",
    parse_bytes: "size",
    parse_size: "size or share",
    a.Address.parse: "address",
    a.parse_host: "host",
    a.parse_registry: "name",
    a.parse_registry_url: "URL",
    a.parse_proxy_url: "URL, secret",
    reading.metadata_url: "URL",
    reading.path: "path",
    reading.home_path: "path",
    reading.flag: "boolean",
    reading.amount: "amount",
    reading.secret: "secret",
    reading.pattern: "pattern",
    reading.tag_pattern: "pattern",
    reading.reference_pattern: "pattern",
    reading.image: "image",
    reading.platform: "platform",
}
# What is said elsewhere than in the model: by the loader, or by who reads the key.
_DEFAULTS = {
    "default_upstream": f"`{load(None, {}).default_upstream}`",
    "upstreams": ", ".join(DEFAULT_UPSTREAMS),
    "url": "`https://` and the name",
    "credentials.username": "required",
    "credentials.password": "required",
    "credentials.command": "required",
}


class PageError(Exception):
    """The page and the settings do not have the same keys."""


def filled(text: str) -> str:
    """The text of the page with today's types and defaults in its rows.

    Raises:
        PageError: a key has no row, so that nothing says what it means; or a row no key.
    """
    known = dict(_columns(Settings, ()))
    rows = {match[1] for line in text.splitlines() if (match := _ROW.fullmatch(line))}
    wrong = [f"{key} has no row" for key in sorted(known.keys() - rows)]
    if wrong := wrong + [f"{key} is no key" for key in sorted(rows - known.keys())]:
        raise PageError("; ".join(wrong))
    return re.sub(
        rf"^{_ROW.pattern}$",
        lambda row: f"| `{row[1]}` | {known[row[1]][0]} | {known[row[1]][1]} | {row[2]} |",
        text,
        flags=re.MULTILINE,
    )


def _columns(section: type, above: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Type and default of each key that has a row: all but chapters, and the keys of rules."""
    hints = get_type_hints(section, include_extras=True)
    of = {field.name: field for field in fields(section)}
    for name, key in keys_of(section).items():
        here = (*above, name)
        full = ".".join(here).removeprefix("upstreams.*.")
        is_chapter = not above and key.section is not None and not key.named
        if not is_chapter:
            yield (
                full,
                (
                    _type(key, hints[name], of[name]),
                    _DEFAULTS.get(full) or _default(key, of[name]),
                ),
            )
        if key.section is not None and name != "rules":
            yield from _columns(key.section, (*here, "*") if key.named else here)


def _type(key: Key, hint: object, field: Field[Any]) -> str:
    types, _ = unfold(hint)
    lists = [kind for kind in types if get_origin(kind) is tuple]
    if key.named:
        return f"sections by {'pattern' if key.name == 'rules' else 'name'}"
    if key.section is not None:
        forms = ["section"] * (key.section in types) + ["list of sections"] * bool(lists)
        return ", or ".join(forms)
    if key.many:
        return f"list of {_word(get_args(lists[0])[0])}s"
    return _word(hint) + " or null" * (key.optional and field.default is not None)


def _word(hint: object) -> str:
    types, marks = unfold(hint)
    read = next((mark.func for mark in marks if isinstance(mark, PlainValidator)), None)
    choices = [word for kind in types if get_origin(kind) is Literal for word in get_args(kind)]
    if choices:
        words = ", ".join(f"`{word}`" for word in choices)
        return f"boolean or {words}" if bool in types else words
    match read:
        case _ if any(isinstance(mark, Shown) and mark.form is format_bytes for mark in marks):
            return "size"
        case Whole():
            return "number"
        case WholeOrAuto():
            return "number, `auto`"
        case Parsed(parse):
            return _WORDS[parse]
    return _WORDS.get(read, "text") if callable(read) else "text"


def _default(key: Key, field: Field[Any]) -> str:
    value = field.default
    match value:
        case _ if value is MISSING and field.default_factory is MISSING:
            return "required"
        case _ if value is MISSING:
            return "none" if key.named else "below"
        case None:
            return "none"
        case ():
            return "empty"
        case bool() | tuple():
            return f"`{json.dumps(value)}`"
    return f"`{key.show(value) if key.show else value}`"
