"""The shipped file and the page about it say what the model says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.settings import Settings, SettingsError, effective_values, load
from cacheproxy.settings.schema import walk
from docs.generated import PAGE, PageError, filled

Load = Callable[..., Settings]

_ROOT = Path(__file__).parents[3]
_SHIPPED = _ROOT / "config/cacheproxy.yaml"
# What the shipped file calls an upstream and a rule, to show what they can have.
_NAMED = {"upstreams": "registry.example.com", "rules": "team/app:latest"}


def test_types_and_defaults_on_the_page_are_those_that_hold() -> None:
    """The page has a row for each key and no other, and is as `make docs` writes it."""
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "run `make docs`"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("| `server.tls.key` ", "| `server.tls.kex` "), "server.tls.key has no row"),
        (("| `server.tls.key` ", "| `server.tls.kex` "), "server.tls.kex is no key"),
    ],
)
def test_a_row_that_is_missing_or_too_many_is_told(change: tuple[str, str], said: str) -> None:
    """A key that nothing explains, and an explanation of no key, are named."""
    with pytest.raises(PageError, match=said):
        filled(PAGE.read_text(encoding="utf-8").replace(*change))


@pytest.mark.parametrize(
    ("key", "columns"),
    [
        ("server.workers", "number, `auto` | `1`"),
        ("server.tls", "section | none"),
        ("server.tls.key", "path | required"),
        ("cache.max_size", "size or share | `50GiB`"),
        ("cache.scrub_every", "duration or null | `30d`"),
        ("cache.relay_ahead", "size | `64MiB`"),
        ("cache.pins", "list of patterns | empty"),
        ("credentials", "section, or list of sections | none"),
        ("tags", "section | below"),
        ("tags.on_not_found", "`keep`, `drop` | `keep`"),
        ("allow", 'list of patterns | `["**"]`'),
        ("offline", "boolean or `auto` | `false`"),
        ("proxy_url", "URL, secret | none"),
        ("warm.schedule.every", "duration | required"),
    ],
)
def test_a_row_is_written_anew(key: str, columns: str) -> None:
    """Whatever stands in the columns of type and default, what holds takes its place."""
    row = re.compile(rf"^\| `{re.escape(key)}` \| (.*? \| .*?) \| (.*) \|$", re.MULTILINE)
    text = PAGE.read_text(encoding="utf-8")
    found = row.search(text)
    assert found is not None
    spoilt = text.replace(found[0], f"| `{key}` | x | y | {found[2]} |")
    again = row.search(filled(spoilt))
    assert again is not None
    assert (again[1], again[2]) == (columns, found[2])


def test_the_shipped_file_is_the_defaults() -> None:
    """What is shipped comes to the same as no file at all."""
    assert load(_SHIPPED, {}) == load(None, {})


def test_the_shipped_file_has_every_key_right(tmp_path: Path) -> None:
    """With all that is commented out written in, the shipped file has every key, and loads."""
    text = _SHIPPED.read_text(encoding="utf-8")
    text = re.sub(r'^( +)# (( {2})*([a-z_.]+|"[^"]+"):)', r"\1\2", text, flags=re.MULTILINE)
    text = text.replace("cluster: null #", "cluster: #")
    text = text.replace("  schedule: [] #", "  # this is").replace("  # schedule:", "  schedule:")
    text = re.sub(r"^  #   (- images:|  every:|  platforms:)", r"    \1", text, flags=re.MULTILINE)
    text = text.replace('url: "embedded:"', "url: redis+sentinel://host/main")
    full = tmp_path / "full.yaml"
    for name in ("registry", "redis", "sentinel", "admin", "webhook"):
        text = text.replace(f"/run/secrets/{name}", str(tmp_path / "secret"))
    full.write_text(text, "utf-8")
    (tmp_path / "secret").write_text("hunter2", encoding="utf-8")
    values: object = effective_values(load(full, {}))
    for location, key in walk(Settings):
        if key.only and "password" not in key.only:
            # Of another provider than the one that is written out.
            assert re.search(rf"# provider: .*\b{location[-1]}:", text)
            continue
        value = values
        for before, part in zip(("", *location), location, strict=False):
            assert isinstance(value, dict)
            value = value[_NAMED[before] if part == "*" else part]
            value = value[0] if location[0] == "warm" and part == "schedule" else value  # a list
        assert re.search(rf"^ *(- )?{location[-1]}(_file)?:", text, re.MULTILINE)


def test_the_shipped_file_explains_each_line() -> None:
    """Each key of the shipped file, commented out or not, has a comment, or needs none."""
    bare = [
        line
        for line in _SHIPPED.read_text(encoding="utf-8").splitlines()
        if re.match(r" *(# +)?[a-z_]+:", line) and line.count(" # ") < 1 + line.startswith("  # ")
    ]
    assert [line.strip(" #") for line in bare] == ["upstreams:", "username: robot"]


def test_the_example_of_the_page_loads(load_text: Load) -> None:
    """The page's example is right but for the secret, which is not here."""
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    with pytest.raises(SettingsError) as caught:
        load_text(example[1])
    assert [problem.path for problem in caught.value.problems] == [
        "upstreams.docker.io.credentials.password_file"
    ]
