"""The environment over the file: `CACHEPROXY__CACHE__MAX_SIZE=80GiB` sets `cache.max_size`.

`__` stands between the keys, so that keys may contain `_`. An upstream's name may be written
as it is (`CACHEPROXY__UPSTREAMS__QUAY.IO__URL`, which container runtimes can set and shells
cannot) or with `_` for each `.`, `-` and `:`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from cacheproxy.settings.addresses import parse_registry
from cacheproxy.settings.draft import Draft, Scalar, Tree
from cacheproxy.settings.model import Settings
from cacheproxy.settings.problems import Problem, nearest, quoted
from cacheproxy.settings.schema import Key, keys_of
from cacheproxy.settings.well_known import WELL_KNOWN

CONFIG_VARIABLE = "CACHEPROXY_CONFIG"
DEFAULT_FILE = Path("config/cacheproxy.yaml")
_PREFIX = "CACHEPROXY__"
_BETWEEN = "__"


class _RefusedError(Exception):
    """The variable sets nothing; `str()` says why."""


def find_file(named: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file to load: the one named, else `$CACHEPROXY_CONFIG`, else the default.

    Returns:
        None when none is named and the default one is not there: load the built-in defaults.
    """
    if named is not None:
        return named
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    try:
        return DEFAULT_FILE if DEFAULT_FILE.exists() else None
    except OSError:  # it may be there, out of our reach: loading it says so
        return DEFAULT_FILE


def overlay(draft: Draft, environ: Mapping[str, str]) -> None:
    """Put the variables' values over the file's."""
    taken: dict[tuple[str, ...], str] = {}
    # the shortest first: a section must be there before what is in it
    for variable in sorted(environ, key=lambda name: (name.count(_BETWEEN), name)):
        if not variable.startswith(_PREFIX):
            continue
        try:
            location, key = _resolve(draft, variable)
            _check(environ[variable], taken.setdefault(location, variable), variable)
            _apply(draft, location, key, variable, environ[variable])
        except _RefusedError as error:
            name = variable if variable.isprintable() else quoted(variable)
            draft.problems.append(Problem(None, None, f"${name}", str(error)))


def _check(value: str, owner: str, variable: str) -> None:
    if owner != variable:
        raise _RefusedError(f"sets the same as ${owner}; remove one")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _RefusedError("is not UTF-8") from None


def _apply(
    draft: Draft, location: tuple[str, ...], key: Key | None, variable: str, value: str
) -> None:
    _check_has_place(draft, location)
    is_section = key is None or key.section is not None
    if is_section and value:
        raise _RefusedError(f"is a section; set its keys: ${variable}__…")
    if is_section and not (key is not None and key.optional):
        if draft.section(*location) is None:  # an upstream with all its defaults
            draft.put(location, None, variable)
        return
    draft.put(location, _value(key, value), variable)
    _drop_other_spelling(draft, location)


def _check_has_place(draft: Draft, location: tuple[str, ...]) -> None:
    for end in range(1, len(location)):
        if isinstance(draft.at(*location[:end]), list):
            raise _RefusedError(
                f"sets a key of {location[end - 1]}, which is a list in the file; write it there"
            )


def _value(key: Key | None, value: str) -> Tree:
    if key is not None and key.many:
        return [Scalar(part.strip()) for part in value.split(",") if part.strip()]
    return Scalar(value) if value else None


def _drop_other_spelling(draft: Draft, location: tuple[str, ...]) -> None:
    """A secret from the environment replaces the file's, in whichever of the two spellings."""
    name = location[-1]
    other = name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"
    section = draft.section(*location[:-1])
    if section is not None and other in section and (*location[:-1], other) not in draft.variables:
        del section[other]


def _resolve(draft: Draft, variable: str) -> tuple[tuple[str, ...], Key | None]:
    """The location that a variable means, and its key (None: one upstream's section)."""
    section: type = Settings
    location: tuple[str, ...] = ()
    rest = variable.removeprefix(_PREFIX).lower()
    while True:
        here = rest
        word, _, rest = rest.partition(_BETWEEN)
        key = _key(section, word)
        if key is None or (rest and key.section is None):
            raise _RefusedError(_suggestion(draft, variable, section, here))
        if key.listed:
            raise _RefusedError("sets a list of sections; write that in the file")
        location = (*location, word)
        if rest and key.named:
            name, rest = _upstream(rest, draft.section("upstreams") or {})
            location = (*location, name)
            if not rest:
                return location, None
        if not rest or key.section is None:
            return location, key
        section = key.section


def _key(section: type, word: str) -> Key | None:
    keys = keys_of(section)
    if word in keys:
        return keys[word]
    key = keys.get(word.removesuffix("_file"))
    return key if key is not None and key.from_file else None


def _upstream(rest: str, configured: Iterable[str]) -> tuple[str, str]:
    """Split `rest` into an upstream's name and what follows it."""
    names = list(configured)
    for candidates in (names, list(WELL_KNOWN)):
        for spell in (str, _underscored):
            found = [name for name in candidates if _begins(rest, spell(name))]
            longest = [name for name in found if len(name) == max(map(len, found))]
            if len(longest) > 1:
                raise _RefusedError(
                    f"could mean {' or '.join(longest)}; write the name with its dots"
                )
            if longest:
                return longest[0], rest[len(longest[0]) + len(_BETWEEN) :]
    written, _, rest = rest.partition(_BETWEEN)
    try:
        return parse_registry(written), rest
    except ValueError:
        near = nearest(written, map(_underscored, [*names, *WELL_KNOWN]))
        hint = f"did you mean {near.upper()}?" if near else "write a new one with its dots"
        raise _RefusedError(f"names no upstream; {hint}") from None


def _begins(rest: str, name: str) -> bool:
    return rest == name or rest.startswith(name + _BETWEEN)


def _underscored(name: str) -> str:
    return re.sub(r"[.:-]", "_", name)


def _suggestion(draft: Draft, variable: str, section: type, rest: str) -> str:
    """What to write for a variable of which `rest` names nothing in `section`."""
    near = nearest(rest.upper(), _known_variables(section, "", draft))
    if near is None:
        return "unknown variable"
    return f"unknown variable; did you mean ${variable[: len(variable) - len(rest)]}{near}?"


def _known_variables(section: type, prefix: str, draft: Draft) -> Iterable[str]:
    for key in keys_of(section).values():
        name = prefix + key.name.upper()
        if key.section is None:
            yield name
            if key.from_file:
                yield f"{name}_FILE"
        elif key.listed:
            continue
        elif key.named:
            for upstream in draft.section("upstreams") or ():
                below = f"{name}__{_underscored(upstream).upper()}__"
                yield from _known_variables(key.section, below, draft)
        else:
            yield from _known_variables(key.section, f"{name}__", draft)
