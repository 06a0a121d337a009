from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheproxy.settings import (
    Address,
    Bytes,
    CredentialsSettings,
    Secret,
    Settings,
    SettingsError,
    TlsSettings,
    find_file,
    load,
)

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

_P = "CACHEPROXY__"
_U = "CACHEPROXY__UPSTREAMS__"


def test_a_variable_goes_over_the_file(load_text: Load) -> None:
    """A variable sets its key whether the file does so or not."""
    settings = load_text(
        "cache: {max_size: 1GiB}\n",
        {
            f"{_P}CACHE__MAX_SIZE": "2GiB",
            f"{_P}SERVER__LISTEN": ":22",
            f"{_P}SERVER__WORKERS": "2",
            f"{_P}UPSTREAMS__QUAY_IO__INSECURE": "true",
        },
    )
    assert settings.cache.max_size == Bytes(2 * 1024**3)
    assert settings.server.listen == Address("", 22)
    assert settings.server.workers == 2
    assert settings.upstreams["quay.io"].insecure


def test_a_variable_replaces_a_wrong_value_of_the_file(load_text: Load) -> None:
    """What a variable replaces in the file need not be right."""
    settings = load_text(
        "upstreams: {quay.io: {allow: [A, [b]]}}", {f"{_U}QUAY_IO__ALLOW": "team/**, x"}
    )
    assert settings.upstreams["quay.io"].allow == ("team/**", "x")


def test_variables_make_a_section(load_text: Load) -> None:
    """A section that the file lacks, or has without keys, is made of variables."""
    variables = {f"{_P}SERVER__TLS__CERTIFICATE": "a.crt", f"{_P}SERVER__TLS__KEY": "a.key"}
    for text in ("", "server:", "server: {tls: }"):
        assert load_text(text, variables).server.tls == TlsSettings(Path("a.crt"), Path("a.key"))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DEFAULT_UPSTREAM", "", "None"),
        ("DEFAULT_UPSTREAM", "quay.io", "quay.io"),
        ("SERVER__TLS", "", "None"),
        ("UPSTREAMS__QUAY_IO__CREDENTIALS", "", "None"),
        ("UPSTREAMS__QUAY_IO__ALLOW", "", "()"),
        ("UPSTREAMS__QUAY_IO__CA_FILE", "", "None"),
        ("UPSTREAMS__QUAY_IO", "", None),
        ("CACHE", "", None),
    ],
)
def test_an_empty_variable_means_none(
    load_text: Load, name: str, value: str, expected: str | None
) -> None:
    """An empty variable takes away what may be absent, and nothing else of a section."""
    text = """
server: {tls: {certificate: a, key: b}}
cache: {max_size: 1GiB}
upstreams:
  docker.io:
  quay.io: {credentials: {username: a, password: b}, allow: [a], ca_file: x}
"""
    settings = load_text(text, {_P + name: value})
    quay = settings.upstreams["quay.io"]
    if expected is None:
        assert settings == load_text(text)
    else:
        assert expected in (
            str(settings.default_upstream),
            str(settings.server.tls),
            str(quay.credentials),
            str(quay.allow),
            str(quay.ca_file),
        )
        assert settings != load_text(text)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("DOCKER_IO__URL", "docker.io"),
        ("DOCKER.IO__URL", "docker.io"),
        ("docker_io__url", "docker.io"),
        ("A_B_IO__URL", "a-b.io"),
        ("A__B_IO__URL", "a--b.io"),
        ("R_IO_5000__URL", "r.io:5000"),
        ("R.IO__URL", "r.io"),
        ("PUBLIC_ECR_AWS__URL", "public.ecr.aws"),
        ("NEW.EXAMPLE.COM__URL", "new.example.com"),
        ("NEW.EXAMPLE.COM:5000__URL", "new.example.com:5000"),
        ("LOCALHOST__URL", "localhost"),
    ],
)
def test_an_upstream_is_found_by_either_spelling(load_text: Load, variable: str, name: str) -> None:
    """An upstream's name may be written as it is, or with `_` if it is configured or known."""
    text = "upstreams: {docker.io: , a-b.io: , a--b.io: , r.io: , 'r.io:5000': }"
    settings = load_text(text, {_U + variable: "http://127.0.0.1:1"})
    changed = [n for n, upstream in settings.upstreams.items() if upstream.url.endswith(":1")]
    assert changed == [name]


def test_an_empty_upstream_is_added_with_its_defaults(load_text: Load) -> None:
    """A variable that names an upstream and is empty adds it."""
    settings = load_text("upstreams: {docker.io: }", {f"{_U}GHCR_IO": ""})
    assert settings.upstreams["ghcr.io"].url == "https://ghcr.io"


def test_a_secret_comes_from_a_variable_or_its_file(load_text: Load) -> None:
    """A secret's variable replaces the file's, also when one of them names a file."""
    load_text("")
    Path("secret").write_text("hunter2\n", encoding="utf-8")
    for of_file in ("password: x", "password_file: missing"):
        text = f"upstreams: {{quay.io: {{credentials: {{username: me, {of_file}}}}}}}"
        for name, value in (("PASSWORD", "hunter2"), ("PASSWORD_FILE", "secret")):
            settings = load_text(text, {f"{_U}QUAY_IO__CREDENTIALS__{name}": value})
            expected = CredentialsSettings("me", Secret("hunter2"))
            assert settings.upstreams["quay.io"].credentials == expected


@pytest.mark.parametrize(
    ("environ", "lines"),
    [
        ({"CACHE__MAX_SIZE": "0"}, ["CACHE__MAX_SIZE: '0' must be at least one byte"]),
        (
            {"CACHE__MAX_SIZE": ""},
            ["CACHE__MAX_SIZE: has no value; write one, or remove the key to get the default"],
        ),
        (
            {"CACHE__MAXSIZE": "1"},
            ["CACHE__MAXSIZE: unknown variable; did you mean $CACHEPROXY__CACHE__MAX_SIZE?"],
        ),
        (
            {"CACHE_MAX_SIZE": "1"},
            ["CACHE_MAX_SIZE: unknown variable; did you mean $CACHEPROXY__CACHE__MAX_SIZE?"],
        ),
        (
            {"CACHE__MAX_SIZE__X": "1"},
            ["CACHE__MAX_SIZE__X: unknown variable; did you mean $CACHEPROXY__CACHE__MAX_SIZE?"],
        ),
        ({"CACHE": "{max_size: 1}"}, ["CACHE: is a section; set its keys: $CACHEPROXY__CACHE__…"]),
        (
            {"UPSTREAMS": "quay.io"},
            ["UPSTREAMS: is a section; set its keys: $CACHEPROXY__UPSTREAMS__…"],
        ),
        (
            {"UPSTREAMS__QUAY_IO": "{}"},
            ["UPSTREAMS__QUAY_IO: is a section; set its keys: $CACHEPROXY__UPSTREAMS__QUAY_IO__…"],
        ),
        ({"UPSTREAMS__QUAY_IO__NAME": "x"}, ["UPSTREAMS__QUAY_IO__NAME: unknown variable"]),
        (
            {"UPSTREAMS__QUAY_IO__URLS": "x"},
            [
                "UPSTREAMS__QUAY_IO__URLS: unknown variable; did you "
                "mean $CACHEPROXY__UPSTREAMS__QUAY_IO__URL?"
            ],
        ),
        (
            {"UPSTREAMS__QUAYIO__URL": "x"},
            ["UPSTREAMS__QUAYIO__URL: names no upstream; did you mean QUAY_IO?"],
        ),
        (
            {"UPSTREAMS__ACME_XYZZY__URL": "x"},
            ["UPSTREAMS__ACME_XYZZY__URL: names no upstream; write a new one with its dots"],
        ),
        (
            {"UPSTREAMS__A_B_IO__URL": "http://x"},
            ["UPSTREAMS__A_B_IO__URL: could mean a.b.io or a-b.io; write the name with its dots"],
        ),
        (
            {"UPSTREAMS__QUAY_IO__URL": "http://x", "UPSTREAMS__QUAY.IO__URL": "http://y"},
            [
                "UPSTREAMS__QUAY_IO__URL: sets the same as "
                "$CACHEPROXY__UPSTREAMS__QUAY.IO__URL; remove "
                "one"
            ],
        ),
        (
            {"UPSTREAMS__QUAY_IO__ALLOW": "team/**,A"},
            [
                "UPSTREAMS__QUAY_IO__ALLOW: 'A' matches no repository: their names have only "
                "lower-case "
                "letters, digits and . _ - / (and a pattern * ** ?)"
            ],
        ),
        (
            {
                "UPSTREAMS__QUAY_IO__CREDENTIALS__PASSWORD": "a",
                "UPSTREAMS__QUAY_IO__CREDENTIALS__PASSWORD_FILE": "b",
                "UPSTREAMS__QUAY_IO__CREDENTIALS__USERNAME": "c",
            },
            [
                "UPSTREAMS__QUAY_IO__CREDENTIALS__PASSWORD_FILE: is given beside password; "
                "write only one "
                "of them"
            ],
        ),
        (
            {"UPSTREAMS__QUAY_IO__PROXY_URL_FILE": "missing"},
            [
                "UPSTREAMS__QUAY_IO__PROXY_URL_FILE: 'missing' does not exist; check the "
                "name and the "
                "current directory"
            ],
        ),
        (
            {"DEFAULT_UPSTREAM": "ghcr.io"},
            [
                "DEFAULT_UPSTREAM: 'ghcr.io' is not among the upstreams; write one of quay.io, "
                "a.b.io, "
                "a-b.io, or null"
            ],
        ),
        (
            {"WARM__SCHEDULE": "nginx", "WARM__SCHEDULE__EVERY": "5m"},
            [
                "WARM__SCHEDULE: sets a list of sections; write that in the file",
                "WARM__SCHEDULE__EVERY: sets a list of sections; write that in the file",
            ],
        ),
        ({"SERVER__LISTEN": ":\udcff"}, ["SERVER__LISTEN: is not UTF-8"]),
        ({"": "x"}, [": unknown variable"]),
        ({"__": "x"}, ["__: unknown variable"]),
    ],
)
def test_a_wrong_variable_is_named(
    problems: Problems, environ: dict[str, str], lines: list[str]
) -> None:
    """A variable that names no key, or whose value is wrong, is reported by its name."""
    found = problems(
        "upstreams: {quay.io: , a.b.io: , a-b.io: }",
        {_P + name: value for name, value in environ.items()},
    )
    assert found == [f"${_P}{line}" for line in lines]


def test_other_variables_are_none_of_ours(load_text: Load) -> None:
    """What does not begin with `CACHEPROXY__` is left alone: Kubernetes sets such variables."""
    environ = {
        "CACHEPROXY_CONFIG": "/nowhere",
        "CACHEPROXY_PORT": "tcp://10.0.0.1:5000",
        "CACHEPROXY_SERVICE_HOST": "10.0.0.1",
        "cacheproxy__cache__max_size": "1",
        "PATH": "/bin",
    }
    assert load_text("", environ) == load(None, {})


def test_a_variable_within_what_is_no_section_reports_the_file(problems: Problems) -> None:
    """Where the file has a value in a section's place, that is the problem, not the variable."""
    assert problems("cache: 5", {f"{_P}CACHE__MAX_SIZE": "1"}) == [
        "c.yaml:1:8: cache: must be a section; its keys are directory, max_size, min_free, "
        "keep_partial, abandon_after, policy, idle_for, pins, scrub_every, scrub_rate, "
        "relay_ahead, access_log, manifest_memory"
    ]


def test_a_variable_name_that_does_not_print_is_shown_in_quotes() -> None:
    """The line of a variable whose name has odd characters can be printed."""
    with pytest.raises(SettingsError) as caught:
        load(None, {f"{_P}\udcff\n": "x"})
    assert str(caught.value) == "$'CACHEPROXY__\\udcff\\n': unknown variable"


_VARIABLES = st.sampled_from(
    [
        f"{_P}DEFAULT_UPSTREAM",
        f"{_P}SERVER",
        f"{_P}SERVER__TLS",
        f"{_P}SERVER__TLS__KEY",
        f"{_P}CACHE__MAX_SIZE",
        f"{_U}QUAY_IO",
        f"{_U}QUAY.IO__TAGS",
        f"{_U}QUAY_IO__CREDENTIALS__PASSWORD",
        f"{_U}QUAY_IO__CREDENTIALS__PASSWORD_FILE",
        f"{_U}QUAY_IO__ALLOW",
    ]
) | st.text("ADEIKOQRU_.:-\udcff\n").map(_P.__add__)
_VALUES = st.sampled_from(["", "1", "true", "docker.io", "***"]) | st.text(st.characters())


@given(environ=st.dictionaries(_VARIABLES, _VALUES, max_size=4))
def test_any_environment_is_loaded_or_refused(environ: dict[str, str]) -> None:
    """Any variables give settings or a SettingsError of printable lines, never anything else."""
    try:
        settings = load(None, environ)
    except SettingsError as error:
        lines = str(error).splitlines()
        assert len(lines) == len(error.problems)  # noqa: PT017 - raising is one of two outcomes
        assert "\n".join(lines).encode()
    else:
        assert isinstance(settings, Settings)


def test_the_file_is_the_one_named_or_of_the_variable_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option goes before the variable, that before the default, which need not be there."""
    monkeypatch.chdir(tmp_path)
    environ = {"CACHEPROXY_CONFIG": "b.yaml"}
    assert find_file(Path("a.yaml"), environ) == Path("a.yaml")
    assert find_file(None, environ) == Path("b.yaml")
    assert find_file(None, {"CACHEPROXY_CONFIG": ""}) is None
    Path("config").mkdir()
    Path("config/cacheproxy.yaml").touch()
    assert find_file(None, {}) == Path("config/cacheproxy.yaml")
