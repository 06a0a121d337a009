import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.settings import Settings, SettingsError, load

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

_REPEATS = "anchors (&), aliases (*) and merge keys (<<) are not supported; write it out"


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "{}", "null", "\ufeff{}"])
def test_an_empty_file_is_all_defaults(load_text: Load, text: str) -> None:
    """A file without any key means the built-in defaults."""
    assert load_text(text) == load(None, {})


def test_sections_without_keys_are_defaults(load_text: Load) -> None:
    """A section whose keys are all commented out means its defaults."""
    assert load_text("cache:\n  # max_size: 1GiB\nserver:\nlogging: ~\n") == load(None, {})


def test_json_is_yaml(load_text: Load) -> None:
    """A JSON file works, also one indented with tabs."""
    settings = load_text(
        '{"cache":\t{\n\t\t"max_size": "1GiB"},\n\t"upstreams": {"quay.io": {}}\n}'
    )
    assert settings.cache.max_size.resolve(0) == 1024**3
    assert list(settings.upstreams) == ["quay.io"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "a: 1\ncache:\n\tmax_size: 1GiB\n",
            [
                "c.yaml:3:1: is not YAML: found character that cannot start any token; "
                "indent with spaces, and quote a value that begins with % @ or `"
            ],
        ),
        (
            "metadata:\n  url: embedded:\n",
            [
                "c.yaml:2:16: is not YAML: mapping values are not allowed in this context; check "
                "the indentation, and quote a value that has ': ' in it or ends in ':'"
            ],
        ),
        (
            "upstreams:\n  quay.io:\n    allow: [**]\n",
            [
                "c.yaml:3:14: is not YAML: did not find expected alphabetic or numeric character; "
                "quote a value that begins with * or &"
            ],
        ),
        (
            "cache\nserver: {}\n",
            [
                "c.yaml:2:7: is not YAML: mapping values are not allowed in this context; check "
                "the indentation, and quote a value that has ': ' in it or ends in ':'"
            ],
        ),
        ('cache: "x\n', ["c.yaml:2:1: is not YAML: found unexpected end of stream"]),
        ("cache: {\n", ["c.yaml:2:1: is not YAML: did not find expected node content"]),
        ("é: \x01\n", ["c.yaml:1:4: is not YAML: control characters are not allowed (code 0x1)"]),
        (
            "a: b\n日本: \x07",
            ["c.yaml:2:5: is not YAML: control characters are not allowed (code 0x7)"],
        ),
        (
            'cache: "\\ud800"',
            ["c.yaml:1:11: is not YAML: found invalid Unicode character escape code"],
        ),
    ],
)
def test_a_syntax_error_has_its_place_and_a_remedy(
    problems: Problems, text: str, lines: list[str]
) -> None:
    """What is not YAML is refused with line, column and, for common mistakes, a remedy."""
    assert problems(text) == lines


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            b"cache:\n  directory: /x/\xe9\n",
            "c.yaml:2:17: is not UTF-8 (byte 0xe9); save it in UTF-8",
        ),
        (b"\xef\xbb\xbf\xc3\xa9\xff", "c.yaml:1:2: is not UTF-8 (byte 0xff); save it in UTF-8"),
        (b"\xff\xfec\x00a\x00", "c.yaml:1:1: is not UTF-8 (byte 0xff); save it in UTF-8"),
        (b"#" * (1024 * 1024 + 1), "c.yaml: is larger than 1024 KiB; is it the right file?"),
    ],
)
def test_a_file_that_is_no_text_is_refused(problems: Problems, content: bytes, line: str) -> None:
    """A file that is not UTF-8 or is larger than 1 MiB is refused."""
    assert problems(content) == [line]


def test_a_file_of_exactly_the_limit_is_read(load_text: Load) -> None:
    """A file of 1 MiB is still read."""
    assert load_text(b"#" * 1024 * 1024) == load(None, {})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "missing.yaml: does not exist; check the name and the current directory"),
        (".", ".: is a directory; name a file in it"),
        ("c.yaml/x", "c.yaml/x: cannot be read: Not a directory"),
        ("n" * 300, f"{'n' * 300}: cannot be read: File name too long"),
    ],
)
def test_a_file_that_is_not_there_is_refused(load_text: Load, name: str, message: str) -> None:
    """A file that is missing, a directory or unreachable is refused with what to do."""
    load_text("")
    with pytest.raises(SettingsError) as caught:
        load(Path(name), {})
    assert str(caught.value) == message


def test_a_file_that_is_not_permitted_is_refused(
    load_text: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that this user may not read is refused with what to check."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    load_text("")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SettingsError) as caught:
        load(Path("c.yaml"), {})
    assert str(caught.value) == (
        "c.yaml: is not readable by this user; check owner and permissions"
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "- a\n",
            [
                "c.yaml:1:1: must be keys and values, such as `cache:` and below it "
                "`max_size: 50GiB`"
            ],
        ),
        (
            "\n\n  text\n",
            [
                "c.yaml:3:3: must be keys and values, such as `cache:` and below it "
                "`max_size: 50GiB`"
            ],
        ),
        (
            "cache: {}\nserver: {}\ncache:\n  max_size: 1\n",
            ["c.yaml:3:1: cache: is given twice, first in line 1; remove one"],
        ),
        (
            "cache: {max_size: 1, 'max_size': 2}\n",
            ["c.yaml:1:22: cache.max_size: is given twice, first in line 1; remove one"],
        ),
        (
            "cache: &a {}\nserver: *a\n",
            [f"c.yaml:1:8: cache: {_REPEATS}", f"c.yaml:2:9: server: {_REPEATS}"],
        ),
        ("cache:\n  <<: {max_size: 1}\n  max_size: 2\n", [f"c.yaml:2:3: cache: {_REPEATS}"]),
        (
            "cache:\n  max_size: !!int 1\n  min_free: !size 1\n",
            [
                "c.yaml:2:13: cache.max_size: tags ('tag:yaml.org,2002:int') are not supported; "
                "write the value alone",
                "c.yaml:3:13: cache.min_free: tags ('!size') are not supported; write the "
                "value alone",
            ],
        ),
        (
            "cache: !!python/object:os.system {}\n",
            [
                "c.yaml:1:8: cache: tags ('tag:yaml.org,2002:python/object:os.system') are not "
                "supported; write the value alone"
            ],
        ),
        (
            "cache: {}\n---\nserver: {}\n",
            ["c.yaml:2:1: only one YAML document is read; remove the `---`"],
        ),
        (
            "cache: {{ size }}\n",
            [
                "c.yaml:1:9: cache: a key must be plain text; quote a value that begins with {{, "
                "[ or *"
            ],
        ),
        (
            "? [a, {b: c}]\n: 1\ncachee: {}\n",
            [
                "c.yaml:1:3: a key must be plain text; quote a value that begins with {{, [ or *",
                "c.yaml:3:1: cachee: unknown key; did you mean cache?",
            ],
        ),
        (
            "a: {b: {c: {d: {e: {f: {g: {h: {i: {}}}}}}}}}\n",
            ["c.yaml:1:36: a.b.c.d.e.f.g.h: is nested too deeply"],
        ),
    ],
)
def test_what_yaml_allows_and_we_do_not(problems: Problems, text: str, lines: list[str]) -> None:
    """Duplicate keys, anchors, tags, more documents and other shapes are refused, in place."""
    assert problems(text) == lines


def test_a_text_may_be_quoted_in_any_way(load_text: Load) -> None:
    """The ways that YAML quotes a text are all the same to us."""
    for text in ("'a'", '"a"', "a", "|-\n   a", ">-\n   a", "!!str a"):
        settings = load_text(f"cache:\n  directory: {text}\n")
        assert settings.cache.directory == Path("a")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "[{a: ", "? "])
def test_deep_nesting_costs_nothing(problems: Problems, opening: str) -> None:
    """A megabyte of opening brackets is refused at once."""
    started = time.process_time()
    lines = problems(opening * (1024 * 1024 // len(opening)))
    assert time.process_time() - started < 5
    assert len(lines) == 1
    assert "nested too deeply" in lines[0] or "a key must be plain text" in lines[0]


def _loads_or_complains(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        settings = load(file, {})
    except SettingsError as error:
        assert error.problems  # noqa: PT017 - raising is one of two outcomes
        assert len(str(error).splitlines()) == len(error.problems)  # noqa: PT017
    else:
        assert isinstance(settings, Settings)


_SHIPPED = (Path(__file__).parents[3] / "config/cacheproxy.yaml").read_text(encoding="utf-8")
_WORDS = st.sampled_from(
    [
        *"{}[],:?-|>&*!%@`#'\"~=<\t\n ",
        "  ",
        "\n  ",
        ": ",
        "- ",
        "<<: ",
        "*a ",
        "&a ",
        "---\n",
        "!!int ",
        "server",
        "listen",
        "tls",
        "cache",
        "max_size",
        "upstreams",
        "docker.io",
        "index.docker.io",
        "default_upstream",
        "credentials",
        "password_file",
        "provider",
        "aliases",
        "tags",
        "name",
        "null",
        "yes",
        "22:22",
        "0x1F",
        "1.10",
        "2001-01-01",
        "80%",
        "0",
        "\x85",
        "\u2028",
        "\\ud800",
    ]
)


@given(content=st.binary() | st.text().map(str.encode))
def test_any_content_is_loaded_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Loading any file returns settings or raises SettingsError, never else."""
    _loads_or_complains(tmp_path_factory.getbasetemp() / "any.yaml", content)


@given(words=st.lists(_WORDS, max_size=30))
def test_any_words_are_loaded_or_refused(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same for files made of YAML's punctuation and our keys."""
    _loads_or_complains(tmp_path_factory.getbasetemp() / "any.yaml", "".join(words).encode())


@given(
    start=st.integers(0, len(_SHIPPED)),
    length=st.integers(0, 40),
    words=st.lists(_WORDS, max_size=3),
)
def test_any_damage_is_loaded_or_refused(
    start: int, length: int, words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same for the shipped file with a piece replaced."""
    damaged = _SHIPPED[:start] + "".join(words) + _SHIPPED[start + length :]
    _loads_or_complains(tmp_path_factory.getbasetemp() / "any.yaml", damaged.encode())
