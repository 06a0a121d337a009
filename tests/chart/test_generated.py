"""values.schema.json and the README's table are those of the settings and of the values."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import cacheproxy
from cacheproxy.settings import Settings, effective_values, load
from cacheproxy.settings.durations import parse_duration
from cacheproxy.settings.json_schema import json_schema
from cacheproxy.settings.schema import walk
from cacheproxy.settings.sizes import parse_size
from helm import generated
from helm.values import CommentError, read
from tests.chart.release import CHART, release

_ROOT = CHART.parents[1]


@pytest.mark.parametrize("name", ["values.schema.json", "README.md"])
def test_what_is_generated_is_fresh(name: str) -> None:
    """The file in the tree is what `make chart-docs` makes of the settings and of values.yaml."""
    written = (CHART / name).read_text(encoding="utf-8")
    assert written == generated.files()[name], f"{name} is stale: run `{generated.COMMAND}`"


def test_the_chart_has_the_programs_version() -> None:
    """Chart.yaml names the version of the program that it installs."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == cacheproxy.__version__
    assert chart["apiVersion"] == "v2"


def test_each_value_is_described() -> None:
    """The README's table has each value there is once, with a meaning."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (`.*?`|) \| (.+) \|$", text, re.MULTILINE)
    described = [path for path, default, meaning in rows if default and meaning]
    assert described == generated.paths(read(CHART / "values.yaml"))
    assert len(described) > 100


def test_the_readmes_examples_render() -> None:
    """Each file of values that the README shows is one that the chart takes."""
    text = (CHART / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n# values\.yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert release(yaml.safe_load(block)).workload["spec"]["replicas"] == 3


def test_a_value_without_a_comment_is_refused(tmp_path: Path) -> None:
    """A key that lacks its comment, where its neighbours have one, is named."""
    file = tmp_path / "values.yaml"
    file.write_text("## A\n\nb:\n  # One.\n  c: 1\n  d: 2\n")
    with pytest.raises(CommentError, match=r"b\.d has no comment"):
        read(file)


def test_the_defaults_are_what_the_schema_allows() -> None:
    """values.yaml is valid by the schema, and the schema knows every key of it."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(values)
    assert schema["properties"].keys() == values.keys() | {"global"}


# -- the settings' own schema ----------------------------------------------------------


def _properties(form: dict[str, Any], location: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Each key that a schema has, `*` for names that the user chooses."""
    found: set[tuple[str, ...]] = set()
    for inner in [*form.get("anyOf", ()), form.get("items")]:
        if inner:
            found |= _properties(inner, location)
    if isinstance(form.get("additionalProperties"), dict):
        found |= _properties(form["additionalProperties"], (*location, "*"))
    for name, inner in form.get("properties", {}).items():
        found |= {(*location, name)} | _properties(inner, (*location, name))
    return found


def test_the_schema_has_every_key() -> None:
    """Each key of the settings is in their schema, and each secret can be named by a file."""
    known = _properties(json_schema())
    expected = {location for location, _ in walk(Settings)}
    files = {(*place[:-1], f"{place[-1]}_file") for place, key in walk(Settings) if key.from_file}
    assert known == expected | files


def test_no_key_is_without_a_form() -> None:
    """Each value of the settings has a type, a pattern or a choice of words, and a description."""

    def look(form: dict[str, Any], name: str) -> None:
        assert {"type", "enum", "anyOf", "const"} & form.keys(), name
        for inner, below in form.get("properties", {}).items():
            assert below.get("description"), inner
            look(below, f"{name}.{inner}")
        for below in [*form.get("anyOf", ()), form.get("items"), form.get("additionalProperties")]:
            if below:
                look(below, name)

    look(json_schema(), "")


def test_secrets_have_no_place_in_the_chart() -> None:
    """The chart's schema has all keys of the settings but those whose value is a secret."""
    chart = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]
    missing = _properties(json_schema()) - _properties(chart)
    secrets = {"password", "sentinel_password", "secret", "token", "webhook_token"}
    assert {place[-1] for place in missing} <= secrets
    assert ("upstreams", "*", "credentials", "password") in missing
    assert ("upstreams", "*", "credentials", "password_file") not in missing


def _documents() -> list[str]:
    blocks = [(_ROOT / "config/cacheproxy.yaml").read_text()]
    for page in [_ROOT / "docs/configuration.md", _ROOT / "docs/replicas.md"]:
        blocks += re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return blocks


def test_what_the_documentation_shows_is_valid() -> None:
    """The shipped file and the pages' examples pass the schema."""
    validator = jsonschema.Draft7Validator(json_schema())
    blocks = _documents()
    assert len(blocks) > 3
    for block in blocks:
        validator.validate(yaml.safe_load(block))


def test_what_check_prints_is_valid() -> None:
    """The effective configuration, which has each key with a value, passes the schema."""
    settings = load(_ROOT / "config/cacheproxy.yaml", {})
    jsonschema.Draft7Validator(json_schema()).validate(effective_values(settings))


_UNITS = st.sampled_from(["", "B", "KB", "kib", "MiB", "GIB", "TB", " GiB", "%", " %", "Gi", "x"])


@given(st.integers(0, 9999), st.sampled_from(["", ".5", ".25", "."]), _UNITS)
def test_a_size_that_is_read_passes(whole: int, fraction: str, unit: str) -> None:
    """The pattern of sizes refuses nothing that the loader takes."""
    text = f"{whole}{fraction}{unit}"
    form = json_schema()["properties"]["cache"]["properties"]["max_size"]
    try:
        parse_size(text)
    except ValueError:
        return
    assert jsonschema.Draft7Validator(form).is_valid(text)


@given(st.text("0123456789.dhms ", max_size=12))
def test_a_duration_that_is_read_passes(text: str) -> None:
    """The pattern of durations refuses nothing that the loader takes."""
    form = json_schema()["properties"]["cache"]["properties"]["keep_partial"]
    try:
        parse_duration(text)
    except ValueError:
        return
    assert jsonschema.Draft7Validator(form).is_valid(text)
