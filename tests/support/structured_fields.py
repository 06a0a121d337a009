"""Reading a structured field (RFC 9651): a list of items with parameters, as far as needed here."""

import re

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_INTEGER = re.compile(r"-?[0-9]{1,15}")

Value = str | int | bool


def read_item(text: str) -> tuple[str, dict[str, Value]]:
    """A token and its parameters.

    Raises:
        ValueError: the text is not such an item, or a parameter comes twice.
    """
    name, *rest = text.split(";")
    if _TOKEN.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a token")
    parameters: dict[str, Value] = {}
    for part in rest:
        key, separator, value = part.lstrip(" ").partition("=")
        if _KEY.fullmatch(key) is None or key in parameters:
            raise ValueError(f"{part!r} is not a parameter")
        parameters[key] = _value(value) if separator else True
    return name, parameters


def _value(text: str) -> Value:
    if _INTEGER.fullmatch(text) is not None:
        return int(text)
    if _TOKEN.fullmatch(text) is not None:
        return text
    raise ValueError(f"{text!r} is neither an integer nor a token")
