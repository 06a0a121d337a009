"""The shipped file and the page about it say what the model says."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cacheproxy.settings import Settings, SettingsError, effective_values, load
from cacheproxy.settings.schema import walk

Load = Callable[..., Settings]

_ROOT = Path(__file__).parents[3]
_SHIPPED = _ROOT / "config/cacheproxy.yaml"
_PAGE = _ROOT / "docs/configuration.md"
_UPSTREAM = "upstreams.*."
_SECTIONS = {"server", "admin", "cache", "metadata", "logging"}


def _keys() -> dict[str, str]:
    """Every key, as the page writes it, with what the effective defaults show for it."""
    defaults = effective_values(load(None, {"CACHEPROXY__UPSTREAMS__REGISTRY.EXAMPLE.COM": ""}))
    keys = {}
    for location, key in walk(Settings):
        value: object = defaults
        for part in location:
            name = "registry.example.com" if part == "*" else part
            value = value.get(name, "required") if isinstance(value, dict) else "required"
        if not (key.section and isinstance(value, dict)):
            keys[".".join(location).removeprefix(_UPSTREAM)] = str(value)
        elif location not in {(section,) for section in _SECTIONS}:
            keys[".".join(location).removeprefix(_UPSTREAM)] = "section"
    return keys


def _rows() -> Iterator[tuple[str, str]]:
    for line in _PAGE.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\| `([a-z_.]+)` \| [^|]+ \| ([^|]*) \|", line):
            yield match[1], match[2].strip().strip("`")


def test_the_page_has_every_key_and_no_other() -> None:
    """Each key of the model has one row in docs/configuration.md, and each row is a key."""
    assert sorted(name for name, _ in _rows()) == sorted(_keys())


@pytest.mark.parametrize(("key", "shown"), sorted(_keys().items()))
def test_the_page_has_each_default(key: str, shown: str) -> None:
    """The default that the page gives for a key is the one that holds."""
    words = {"None": "none", "False": "false", "[]": "empty", "['**']": '["**"]'}
    written = dict(_rows())[key]
    if key == "url":
        assert (written, shown) == ("https://` and the name", "https://registry.example.com")
    elif shown == "section":
        assert written in ("below", "none", "docker.io, quay.io, gcr.io, ghcr.io, registry.k8s.io")
    elif key == "server.tls.client_ca":
        assert written == "none"  # optional, within a section that is absent
    else:
        assert written == words.get(shown, shown)


def test_the_shipped_file_is_the_defaults() -> None:
    """What is shipped comes to the same as no file at all."""
    assert load(_SHIPPED, {}) == load(None, {})


def test_the_shipped_file_has_every_key_right(tmp_path: Path) -> None:
    """With all that is commented out written in, the shipped file has every key, and loads."""
    text = _SHIPPED.read_text(encoding="utf-8")
    text = re.sub(r"^( +)# (( {2})*[a-z_.]+:)", r"\1\2", text, flags=re.MULTILINE)
    full = tmp_path / "full.yaml"
    full.write_text(text.replace("/run/secrets/registry", str(tmp_path / "secret")), "utf-8")
    (tmp_path / "secret").write_text("hunter2", encoding="utf-8")
    values: object = effective_values(load(full, {}))
    for location, _ in walk(Settings):
        value = values
        for part in location:
            assert isinstance(value, dict)
            value = value["registry.example.com" if part == "*" else part]
        assert re.search(rf"^ *{location[-1]}(_file)?:", text, re.MULTILINE)


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
    example = re.search(r"```yaml\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example is not None
    with pytest.raises(SettingsError) as caught:
        load_text(example[1])
    assert [problem.path for problem in caught.value.problems] == [
        "upstreams.docker.io.credentials.password_file"
    ]
