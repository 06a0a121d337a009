"""From YAML (or JSON) text to a draft whose every value knows its line.

PyYAML's events are read rather than its values, for values are what YAML 1.1 makes of the
text: `22:22` would be 1342, `no` False, `1.10` the number 1.1. And rather than its nodes, for
events come as the text is read: what is nested too deeply is refused before it costs anything
(100,000 brackets keep the composer busy for half a minute), and anchors can be seen.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

import yaml
from yaml.reader import ReaderError

from cacheproxy.settings.draft import Draft, Location, Position, Scalar, Tree, position
from cacheproxy.settings.files import UnreadableError, read_text
from cacheproxy.settings.problems import quoted

FILE_LIMIT = 1024 * 1024
_DEPTH_LIMIT = 8  # the deepest value is at 4
_NULLS = ("", "~", "null", "Null", "NULL")
_STRING_TAGS = (None, "!", "tag:yaml.org,2002:str")
_HINTS = {
    "mapping values are not allowed": (
        "; check the indentation, and quote a value that has ': ' in it or ends in ':'"
    ),
    "alphabetic or numeric": "; quote a value that begins with * or &",
    "could not find expected ':'": "; check the indentation, and for a ':' after each key",
    "cannot start any token": "; indent with spaces, and quote a value that begins with % @ or `",
}
_NO_REPEATS = "anchors (&), aliases (*) and merge keys (<<) are not supported; write it out"


class _Content(Protocol):
    """What mappings, sequences and scalars have in common: PyYAML's own types are partial."""

    anchor: str | None
    tag: str | None
    start_mark: yaml.Mark | None


def read_document(path: Path, draft: Draft) -> None:
    """Read the file into the draft.

    Raises:
        SettingsError: it cannot be read or is not YAML; whatever else is wrong with it is
            left in the draft's problems.
    """
    try:
        text = read_text(path, FILE_LIMIT)
    except UnreadableError as error:
        draft.report_at(error.place, (), str(error))
        raise draft.error() from None
    compose(text, draft)


def compose(text: str, draft: Draft) -> None:
    """Read the text into the draft.

    Raises:
        SettingsError: as for `read_document`.
    """
    try:
        _Composer(yaml.parse(text, Loader=yaml.CSafeLoader), draft).compose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        draft.report_at(position(mark), (), _syntax(error))
    except ReaderError as error:
        before = text.encode()[: error.position].decode()  # libyaml counts bytes here
        place = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
        draft.report_at(place, (), f"is not YAML: {error.reason} (code {error.character:#x})")
    else:
        return
    raise draft.error()


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be parsed"
    hint = next((hint for part, hint in _HINTS.items() if part in problem), "")
    return f"is not YAML: {problem}{hint}"


class _Composer:
    def __init__(self, events: Iterator[yaml.Event], draft: Draft) -> None:
        self._events = events
        self._draft = draft

    def compose(self) -> None:
        roots = [self._node(event, ()) for event in self._events if self._begins_node(event)]
        if not roots or roots[0] is None:
            return  # nothing but comments: all defaults
        if isinstance(roots[0], dict):
            self._draft.tree = roots[0]
        else:
            message = "must be keys and values, such as `cache:` and below it `max_size: 50GiB`"
            self._draft.report_at(self._draft.values[()], (), message)

    def _begins_node(self, event: yaml.Event) -> bool:
        """Whether a root begins here; a second document is skipped and reported."""
        if isinstance(event, yaml.DocumentStartEvent) and self._draft.values:
            self._draft.report_at(
                position(event.start_mark), (), "only one YAML document is read; remove the `---`"
            )
            self._skip(event)
            return False
        return isinstance(event, yaml.NodeEvent)

    def _node(self, event: yaml.Event, location: Location) -> Tree:
        place = position(event.start_mark)
        self._draft.values[location] = place
        if len(location) > _DEPTH_LIMIT:
            self._draft.report_at(place, location[:-1], "is nested too deeply")
            raise self._draft.error()
        if isinstance(event, yaml.AliasEvent):
            self._draft.report(location, _NO_REPEATS)
            return None
        self._check(cast("_Content", event), location)
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(location)
            case yaml.SequenceStartEvent():
                return self._sequence(location)
            case yaml.ScalarEvent():
                return _scalar(event)
            case _:
                raise AssertionError(event)

    def _check(self, event: _Content, location: Location) -> None:
        place = position(event.start_mark)
        if event.anchor is not None:
            self._draft.report_at(place, location, _NO_REPEATS)
        if event.tag not in _STRING_TAGS:
            message = f"tags ({quoted(str(event.tag))}) are not supported; write the value alone"
            self._draft.report_at(place, location, message)

    def _sequence(self, location: Location) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, (*location, len(items))))
        return items

    def _mapping(self, location: Location) -> dict[str, Tree]:
        section: dict[str, Tree] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, location)
            value = next(self._events)
            if key is None:
                self._skip(value)
            elif key in section:
                first = self._draft.keys[*location, key].line
                message = f"is given twice, first in line {first}; remove one"
                self._draft.report_at(position(event.start_mark), (*location, key), message)
                self._skip(value)
            else:
                self._draft.keys[*location, key] = position(event.start_mark)
                section[key] = self._node(value, (*location, key))
        return section

    def _key(self, event: yaml.Event, location: Location) -> str | None:
        place = position(event.start_mark)
        if not isinstance(event, yaml.ScalarEvent):
            message = "a key must be plain text; quote a value that begins with {{, [ or *"
            self._draft.report_at(place, location, message)
            self._skip(event)
            return None
        if event.value == "<<":
            self._draft.report_at(place, location, _NO_REPEATS)
            return None
        self._check(cast("_Content", event), (*location, event.value))
        return str(event.value)

    def _skip(self, event: yaml.Event) -> None:
        """Read past the node or document that begins with `event`."""
        starts = (yaml.CollectionStartEvent, yaml.DocumentStartEvent)
        ends = (yaml.CollectionEndEvent, yaml.DocumentEndEvent)
        depth = int(isinstance(event, starts))
        while depth:
            event = next(self._events)
            depth += isinstance(event, starts) - isinstance(event, ends)


def _scalar(event: yaml.ScalarEvent) -> Scalar | None:
    is_quoted = event.style in ("'", '"', "|", ">") or (event.tag is not None)
    if not is_quoted and event.value in _NULLS:
        return None
    return Scalar(event.value, is_quoted)
