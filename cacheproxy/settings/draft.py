"""A configuration on its way in: what is written, where, and what is wrong with it so far."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cacheproxy.settings.problems import Problem, SettingsError, shown

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the file, both counted from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written, before any reading of it as a number, date or boolean.

    Attributes:
        text: of the value.
        quoted: which makes it a text, whatever it looks like.
        file: that it was read from, if that is another one than the configuration.
    """

    text: str
    quoted: bool = False
    file: Path | None = None


Tree = Scalar | None | list["Tree"] | dict[str, "Tree"]


class _Mark(Protocol):
    line: int
    column: int


def position(mark: _Mark | None) -> Position:
    """The position that a mark of PyYAML (counted from 0) means."""
    return Position(1, 1) if mark is None else Position(mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class Draft:
    """The tree of keys and values with their origins; the steps of loading work on it in turn.

    Attributes:
        file: the configuration file, if there is one.
        tree: the values; a section that has no keys may be None.
        keys: where each key stands in the file.
        values: where each value begins in the file.
        variables: the environment variable that set a value.
        problems: found so far.
        refused: values that are reported already, so that none is reported twice.
    """

    file: Path | None = None
    tree: dict[str, Tree] = field(default_factory=dict)
    keys: dict[Location, Position] = field(default_factory=dict)
    values: dict[Location, Position] = field(default_factory=dict)
    variables: dict[Location, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[Location] = field(default_factory=set)

    def error(self) -> SettingsError:
        """All problems found so far, to be raised."""
        return SettingsError(self.problems, self.file)

    def report_at(self, place: Position | None, location: Location, message: str) -> None:
        """Add a problem at a place in the file."""
        line, column = (None, None) if place is None else (place.line, place.column)
        self.problems.append(Problem(line, column, shown(location), message))

    def report(self, location: Location, message: str, *, at_key: bool = False) -> None:
        """Add a problem with a value (or its key), at its place or the nearest around it."""
        if location in self.refused:
            return
        self.refused.add(location)
        place = self._place(location, at_key=at_key)
        if isinstance(place, str):
            self.problems.append(Problem(None, None, f"${place}", message))
        else:
            self.report_at(place, location, message)

    def section(self, *location: str | int) -> dict[str, Tree] | None:
        """The section at a location; None when there is none, or something else is there."""
        node = self.at(*location)
        return node if isinstance(node, dict) else None

    def at(self, *location: str | int) -> Tree:
        """What is at a location, if anything."""
        node: Tree = self.tree
        for part in location:
            match node, part:
                case dict(), str():
                    node = node.get(part)
                case list(), int():
                    node = node[part] if part < len(node) else None
                case _:
                    return None
        return node

    def put(self, location: tuple[str, ...], value: Tree, variable: str) -> None:
        """Set a value from a variable, making the sections around it where they are missing."""
        node = self.tree
        for part in location[:-1]:
            inner = node.get(part)
            if inner is None:
                inner = node[part] = {}
            if not isinstance(inner, dict):
                return  # the file has no section there, which is a problem of its own
            node = inner
        node[location[-1]] = value
        self._forget_places(location)
        self.variables[location] = variable

    def move(self, source: Location, target: Location) -> None:
        """Let what was written at `source` be found at `target`, with all that is in it."""
        for table in (self.keys, self.values):
            for location in [known for known in table if known[: len(source)] == source]:
                table[target + location[len(source) :]] = table.pop(location)
        if source in self.variables:
            self.variables[target] = self.variables.pop(source)

    def _place(self, location: Location, *, at_key: bool) -> Position | str | None:
        own = self.keys if at_key else self.values
        if location in own and location not in self.variables:
            return own[location]
        for end in range(len(location), 0, -1):
            around = location[:end]
            if around in self.variables:
                return self.variables[around]
            if around in self.keys:
                return self.keys[around]
            if isinstance(around[-1], int) and around in self.values:
                return self.values[around]  # one of a list, which has no key of its own
        return None

    def _forget_places(self, location: Location) -> None:
        for table in (self.keys, self.values):
            for known in [known for known in table if known[: len(location)] == location]:
                del table[known]
