"""The chart's values.yaml, as its README and its schema see it: keys, defaults, and comments."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

_GROUP = re.compile(r"## (.+)")
_SCHEMA = "@schema "


class CommentError(Exception):
    """A key lacks its comment, or has one that cannot be read."""


@dataclass(frozen=True, slots=True)
class Value:
    """One key, with what is below it.

    Attributes:
        path: from the top.
        default: what stands in the file, all of it.
        meaning: of its comment, on one line; empty for sections that need none.
        form: of its comment: what the default does not say about the values that it may have.
        inner: the keys below it, where those have comments of their own; else it is one value,
            whatever is in it.
    """

    path: tuple[str, ...]
    default: Any
    meaning: str
    form: dict[str, Any]
    inner: list["Value"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Group:
    """The values between two `## …` lines."""

    title: str
    values: list[Value]


def read(file: Path) -> list[Group]:
    """Read the file.

    Raises:
        CommentError: a key has no comment, though its neighbours have.
    """
    text = file.read_text(encoding="utf-8")
    root = cast("yaml.MappingNode", yaml.compose(text, Loader=yaml.SafeLoader))
    groups: list[Group] = []
    lines = text.splitlines()
    titles = {
        number: match[1] for number, line in enumerate(lines) if (match := _GROUP.match(line))
    }
    for value, line in _values(root, (), lines):
        title = titles[max(number for number in titles if number < line)]
        if not groups or groups[-1].title != title:
            groups.append(Group(title, []))
        groups[-1].values.append(value)
    return groups


def leaves(values: list[Value]) -> Iterator[Value]:
    """Each value that has no further ones below it."""
    for value in values:
        if value.inner:
            yield from leaves(value.inner)
        else:
            yield value


def _values(
    node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]
) -> Iterator[tuple[Value, int]]:
    for key, below in node.value:
        here = (*path, key.value)
        meaning, form = _comment(lines, key.start_mark.line, key.start_mark.column, here)
        inner = _inner(below, here, lines)
        if not meaning and not inner:
            raise CommentError(f"values.yaml: {'.'.join(here)} has no comment above it")
        yield Value(here, _default(below), meaning, form, inner), key.start_mark.line


def _inner(node: yaml.Node, path: tuple[str, ...], lines: list[str]) -> list[Value]:
    """What is below a section whose keys have comments; one without any is a value itself."""
    if not isinstance(node, yaml.MappingNode) or not node.value or node.flow_style:
        return []
    first, _ = node.value[0]
    if not lines[first.start_mark.line - 1].lstrip().startswith("#"):
        return []
    return [value for value, _ in _values(node, path, lines)]


def _default(node: yaml.Node) -> Any:  # noqa: ANN401 - whatever YAML has
    return yaml.safe_load(yaml.serialize(node, Dumper=yaml.SafeDumper))


def _comment(
    lines: list[str], line: int, column: int, path: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    """The words and the form that stand above a key, at its indentation."""
    start = line
    while start and lines[start - 1].startswith(" " * column + "# "):
        start -= 1
    written = [text[column + 2 :] for text in lines[start:line]]
    forms = [text.removeprefix(_SCHEMA) for text in written if text.startswith(_SCHEMA)]
    words = " ".join(text.strip() for text in written if not text.startswith(_SCHEMA))
    try:
        return words, json.loads(forms[0]) if forms else {}
    except ValueError as error:
        raise CommentError(f"values.yaml: @schema of {'.'.join(path)}: {error}") from None
