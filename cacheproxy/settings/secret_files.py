"""Secrets from files: `password_file: /run/secrets/quay` in place of `password: …`."""

from pathlib import Path

from cacheproxy.settings import reading
from cacheproxy.settings.draft import Draft, Location, Scalar, Tree
from cacheproxy.settings.files import UnreadableError, read_text
from cacheproxy.settings.model import Settings
from cacheproxy.settings.problems import quoted
from cacheproxy.settings.schema import Key, walk

_LIMIT = 64 * 1024


def read_secret_files(draft: Draft) -> None:
    """Put the content of each secret's file where the secret itself would be written."""
    for location, key in walk(Settings):
        if key.from_file:
            for section in _sections(draft, location[:-1]):
                _read_one(draft, section, key)


def _sections(draft: Draft, pattern: tuple[str, ...]) -> list[Location]:
    """The locations that are there and match: `*` stands for any key; a list is each of it."""
    found: list[Location] = [()]
    for part in pattern:
        found = [
            inner
            for location in found
            for name in (draft.section(*location) or ())
            if part in ("*", name)
            for inner in _each(draft, (*location, name))
        ]
    return found


def _each(draft: Draft, location: Location) -> list[Location]:
    node = draft.at(*location)
    if isinstance(node, list):
        return [(*location, index) for index in range(len(node))]
    return [location]


def _read_one(draft: Draft, location: Location, key: Key) -> None:
    section = draft.section(*location)
    file_key = f"{key.name}_file"
    if section is None or file_key not in section:
        return
    value = section.pop(file_key)
    here = (*location, file_key)
    if key.name in section:
        draft.report(here, f"is given beside {key.name}; write only one of them", at_key=True)
        return
    try:
        section[key.name] = _content(value)
    except ValueError as error:
        draft.report(here, str(error))
        section[key.name] = Scalar("-")
        draft.refused.add((*location, key.name))
    else:
        draft.move(here, (*location, key.name))


def _content(value: Tree) -> Scalar:
    path = Path(reading.text(value))
    try:
        secret = read_text(path, _LIMIT)
    except UnreadableError as error:
        raise ValueError(f"{quoted(str(path))} {error}") from None
    secret = secret.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"{quoted(str(path))} is empty")
    return Scalar(secret, quoted=True, file=path)
