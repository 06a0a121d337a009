"""PromQL taken apart, as far as names go: which series an expression asks for, by what labels."""

import re
from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAME = re.compile(r"(?<![\w.:$])[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring"}


def names(expression: str) -> set[str]:
    """The metrics that it asks for."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", _bare(expression))
    bare = _GROUPING.sub("", bare)
    return set(_NAME.findall(bare)) - _WORDS


def matched(expression: str) -> Iterator[tuple[str, str]]:
    """Each metric with a label that it is chosen by."""
    for name, matchers in _SELECTOR.findall(_bare(expression)):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            yield name, label


def grouped(expression: str) -> set[str]:
    """The labels that it sums by or joins on."""
    found = _GROUPING.findall(_bare(expression))
    return {label.strip() for labels in found for label in labels.split(",")} - {""}


def _bare(expression: str) -> str:
    """Without comments, and with nothing in its strings that could be taken for PromQL."""
    return _STRING.sub('""', re.sub(r"#.*", "", expression))
