"""Which keys there are, read off the model: the model is the only list of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeGuard, Union, get_args, get_origin, get_type_hints

from cacheproxy.settings.draft import Location
from cacheproxy.settings.kinds import FromFile, FromKey, Only, Shown
from cacheproxy.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section.

    Attributes:
        name: as it is written.
        section: the class of what is below it, if that is a section (or named sections).
        named: below it are sections by a name that the user chooses.
        listed: its value is a list of such sections.
        many: its value is a list of texts.
        optional: it may be null.
        from_file: `NAME_file` may be written in its stead.
        show: its value's form in the effective configuration.
        only: the providers of credentials that it is of; none: it is of all.
    """

    name: str
    section: type | None
    named: bool
    listed: bool
    many: bool
    optional: bool
    from_file: bool
    show: Callable[[Any], str] | None
    only: frozenset[str]


@cache
def keys_of(section: type) -> Mapping[str, Key]:
    """The keys of a section, in their order."""
    hints = get_type_hints(section, include_extras=True)
    keys = [_key(field.name, hints[field.name]) for field in fields(section)]
    return {key.name: key for key in keys if key is not None}


def spellings(section: type) -> list[str]:
    """All keys that may be written in a section, those for secrets' files included."""
    keys = keys_of(section).values()
    return [*(key.name for key in keys), *(f"{key.name}_file" for key in keys if key.from_file)]


def section_at(location: Location) -> type | None:
    """The class of the section at a location, if there can be one."""
    section: type | None = Settings
    named = False
    for part in location:
        if isinstance(part, int):
            continue  # one of several sections
        if named:
            named = False  # `part` is the user's name for the section
            continue
        key = keys_of(section).get(part) if section is not None else None
        section, named = (key.section, key.named) if key is not None else (None, False)
    return section if not named else None


def walk(section: type, location: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key there is, parents first; `*` stands for a name that the user chooses."""
    for key in keys_of(section).values():
        here = (*location, key.name)
        yield here, key
        if key.section is not None:
            yield from walk(key.section, (*here, "*") if key.named else here)


def _key(name: str, hint: object) -> Key | None:
    types, marks = unfold(hint)
    if any(isinstance(mark, FromKey) for mark in marks):
        return None
    named = any(get_origin(kind) is Mapping for kind in types)
    candidates = [get_args(kind)[1] for kind in types if get_args(kind)] if named else types
    section = next((kind for kind in candidates if _is_section(kind)), None)
    listed = None
    if section is None:
        parts = [part for kind in types if get_origin(kind) is tuple for part in get_args(kind)]
        section = listed = next((part for part in parts if _is_section(part)), None)
    return Key(
        name=name,
        section=section,
        named=named,
        listed=listed is not None,
        many=section is None and any(get_origin(kind) is tuple for kind in types),
        optional=NoneType in types,
        from_file=any(isinstance(mark, FromFile) for mark in marks),
        show=next((mark.form for mark in marks if isinstance(mark, Shown)), None),
        only=frozenset(word for mark in marks if isinstance(mark, Only) for word in mark.providers),
    )


def _is_section(kind: object) -> TypeGuard[type]:
    return hasattr(kind, "__pydantic_config__")  # values such as an address have none


def unfold(hint: object) -> tuple[list[object], list[object]]:
    """The types that a hint allows, and what it is annotated with."""
    if get_origin(hint) is Annotated:
        annotated, *own = get_args(hint)
        types, marks = unfold(annotated)
        return types, [*marks, *own]
    if get_origin(hint) in (Union, UnionType):
        parts = [unfold(part) for part in get_args(hint)]
        return [kind for types, _ in parts for kind in types], [m for _, ms in parts for m in ms]
    return [hint], []
