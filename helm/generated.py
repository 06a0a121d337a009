"""The files of the chart that are made from others: values.schema.json, and half of README.md."""

import json
import re
from pathlib import Path
from typing import Any

from cacheproxy.settings.json_schema import json_schema
from helm.values import Group, Value, leaves, read

CHART = Path(__file__).parent / "cacheproxy"
COMMAND = "make chart-docs"

Form = dict[str, Any]

_SECTION = "## Values\n"
# In a URL of `config` no password can be: it would stand in a ConfigMap.
_REDIS = r"^(embedded:|memory:|[a-z+]+://([^:/@]+@)?[^@]+)$"
_PROXY = r"^[Hh][Tt][Tt][Pp][Ss]?://[^ ?#@]+$"


def files() -> dict[str, str]:
    """What each of them should be, by its name."""
    groups = read(CHART / "values.yaml")
    written = (CHART / "README.md").read_text(encoding="utf-8")
    return {
        "values.schema.json": json.dumps(schema(groups), indent=1) + "\n",
        "README.md": written.partition(_SECTION)[0] + _SECTION + "\n" + _tables(groups),
    }


# -- values.schema.json ----------------------------------------------------------------


def schema(groups: list[Group]) -> Form:
    """What values may be: `config` as the settings say, the rest as values.yaml does."""
    settings = _without_secrets(json_schema())
    draft = settings.pop("$schema")
    values = [value for group in groups for value in group.values]
    properties = {value.path[-1]: _form(value) for value in values}
    meaning = properties["config"]["description"]
    properties["config"] = {"description": meaning, **settings}
    properties["global"] = {
        "description": "What a chart that this one is a part of shares with its parts.",
        "type": "object",
    }
    return {"$schema": draft, **_closed(properties)}


def _form(value: Value) -> Form:
    described: Form = {"description": value.meaning} if value.meaning else {}
    if value.inner:
        return described | _closed({inner.path[-1]: _form(inner) for inner in value.inner})
    return (
        described | (_type(value.default) if not {"enum"} & value.form.keys() else {}) | value.form
    )


def _closed(properties: Form) -> Form:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _type(default: object) -> Form:
    match default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case _:
            return {}


def _without_secrets(form: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """The schema without keys whose value is a secret: they have no place in a ConfigMap."""
    match form:
        case {"properties": dict(properties), **others}:
            kept = {
                name: _without_secrets(inner)
                for name, inner in properties.items()
                if not inner.get("writeOnly")
            }
            for name, pattern in (("proxy_url", _PROXY), ("url", _REDIS)):
                if f"{name}_file" in kept:
                    kept[name] = kept[name] | {"pattern": pattern}
            return {**others, "properties": kept}
        case dict():
            return {key: _without_secrets(inner) for key, inner in form.items()}
        case list():
            return [_without_secrets(inner) for inner in form]
        case _:
            return form


# -- README.md -------------------------------------------------------------------------


def _tables(groups: list[Group]) -> str:
    intro = "Made from the comments of `values.yaml` by `make chart-docs`.\n"
    return "\n".join([intro, *map(_table, groups)])


def _table(group: Group) -> str:
    rows = [_row(value) for value in _described(group.values)]
    head = ["| key | default | meaning |", "|---|---|---|"]
    return "\n".join([f"### {group.title}", "", *head, *rows]) + "\n"


def _described(values: list[Value]) -> list[Value]:
    """Sections that say something of themselves, and all that has no section below it."""
    found: list[Value] = []
    for value in values:
        if not value.inner or value.meaning:
            found.append(value)
        found.extend(_described(value.inner))
    return found


def _row(value: Value) -> str:
    default = "" if value.inner else f"`{_shown(value.default)}`"
    choices = value.form.get("enum")
    meaning = value.meaning
    if choices and not all(f"`{choice}`" in meaning for choice in choices):
        meaning += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    cells = (f"`{'.'.join(value.path)}`", default, meaning)
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |"


def _shown(default: object) -> str:
    return json.dumps(default, ensure_ascii=False)


def paths(groups: list[Group]) -> list[str]:
    """The name in full of each value."""
    return [".".join(value.path) for group in groups for value in leaves(group.values)]
