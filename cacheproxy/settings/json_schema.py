"""The configuration file as a JSON Schema, read off the model: for editors, and for the chart.

It says which keys there are and what their values look like. What lies between keys, and which
of them must be there, is left to `load`: a part of the configuration may come from elsewhere.
Patterns are of RE2's kind, for that is what Helm matches them with; none refuses what `load`
takes, and some take what it refuses.
"""

import re
from collections.abc import Callable, Mapping
from inspect import cleandoc
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import PlainValidator

from cacheproxy.settings.addresses import (
    Address,
    parse_host,
    parse_proxy_url,
    parse_registry,
    parse_registry_url,
)
from cacheproxy.settings.durations import parse_duration, parse_positive_duration
from cacheproxy.settings.model import Settings
from cacheproxy.settings.reading import Parsed, Whole, WholeOrAuto
from cacheproxy.settings.schema import Key, keys_of, unfold
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.sizes import format_bytes, parse_bytes, parse_size

Form = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"
_NUMBER = r"[0-9]+(\.[0-9]+)?"
_SIZE = rf"{_NUMBER} ?(([KkMmGgTtPp][Ii]?)?[Bb])?"
_TEXT: Form = {"type": "string", "minLength": 1}
_ZERO: Form = {"const": 0}


def _matching(pattern: str) -> Form:
    return {"type": "string", "pattern": f"^{pattern}$"}


_DURATION = _matching(r" *(([0-9.]+(ms|[dhms]))+|0) *")
_BYTES = _matching(rf" *{_SIZE} *")
_URL = _matching(r"[Hh][Tt][Tt][Pp][Ss]?://[^ ?#]+")
_HOST = _matching(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
# By what reads them; what is not here is any text.
_FORMS: Mapping[Callable[[str], object], Form] = {
    parse_duration: {"anyOf": [_DURATION, _ZERO]},
    parse_positive_duration: _DURATION,
    parse_bytes: _BYTES,
    parse_size: _matching(rf" *({_SIZE}|{_NUMBER} ?%) *"),
    Address.parse: _matching(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}"),
    parse_host: _HOST,
    parse_registry: _HOST,
    parse_registry_url: _URL,
    parse_proxy_url: _URL,
}


def json_schema() -> Form:
    """The schema of a configuration file."""
    return {"$schema": _DRAFT, **_section(Settings)}


def _section(section: type) -> Form:
    hints = get_type_hints(section, include_extras=True)
    meanings = _meanings(section)
    properties: Form = {}
    for name, key in keys_of(section).items():
        meaning = {"description": meanings[name]} if name in meanings else {}
        properties[name] = meaning | _value(key, hints[name])
        if key.from_file:
            properties[f"{name}_file"] = {"description": f"A file that holds {name}."} | _TEXT
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(key: Key, hint: object) -> Form:
    if key.section is None:
        form = _list(hint) if key.many else _leaf(key, hint)
        return _or_null(form) if key.optional else form
    section = _or_null(_section(key.section))  # without any key, it has all its defaults
    if key.named:
        return {"type": "object", "additionalProperties": section}
    types, _ = unfold(hint)
    forms = [section] if key.section in types else []
    if any(get_origin(kind) is tuple for kind in types):
        forms.append({"type": "array", "items": section})
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _list(hint: object) -> Form:
    kind = next(kind for kind in unfold(hint)[0] if get_origin(kind) is tuple)
    item, *_ = get_args(kind)
    return {"type": "array", "items": _leaf(None, item)}


def _leaf(key: Key | None, hint: object) -> Form:
    """The form of one value: by what reads it, else by its types."""
    types, marks = unfold(hint)
    reader = next((mark.func for mark in marks if isinstance(mark, PlainValidator)), None)
    match reader:
        case Whole(lowest, highest):
            return {"type": "integer", "minimum": lowest, "maximum": highest}
        case WholeOrAuto(Whole(lowest, highest)):
            number = {"type": "integer", "minimum": lowest, "maximum": highest}
            return {"anyOf": [number, {"const": "auto"}]}
        case Parsed(parse) if parse in _FORMS:
            return dict(_FORMS[parse])
    if key is not None and key.show is format_bytes:
        return {"anyOf": [_BYTES, _ZERO]}
    return _of_types([kind for kind in types if kind is not NoneType])


def _of_types(types: list[object]) -> Form:
    forms = [form for form in map(_of_type, types) if form]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _of_type(kind: object) -> Form:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    known: Mapping[object, Form] = {
        bool: {"type": "boolean"},
        int: {"type": "integer"},
        float: {"type": "number"},
        str: _TEXT,
        Path: _TEXT,
        Secret: {**_TEXT, "writeOnly": True},
    }
    return dict(known.get(kind, {}))


def _or_null(form: Form) -> Form:
    match form:
        case {"type": str(kind), **others} if "enum" not in form:
            return {"type": [kind, "null"], **others}
        case {"anyOf": list(forms), **others}:
            return {"anyOf": [*forms, {"type": "null"}], **others}
        case _:
            return {"anyOf": [form, {"type": "null"}]}


def _meanings(section: type) -> dict[str, str]:
    """What the section's docstring says of its attributes."""
    _, _, attributes = cleandoc(section.__doc__ or "").partition("\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning).strip() for name, meaning in found}
