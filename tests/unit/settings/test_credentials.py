from collections.abc import Callable
from pathlib import Path

import pytest

from cacheproxy.settings import CredentialsSettings, Secret, Settings, effective
from cacheproxy.settings import reading as reading_module

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]

_U = "CACHEPROXY__UPSTREAMS__QUAY_IO__CREDENTIALS"
_AT = "upstreams.quay.io.credentials"
_NO_COMMAND = 'is missing; write a list, such as ["/usr/local/bin/registry-login", "--json"]'


def _text(credentials: str, upstream: str = "quay.io") -> str:
    return f"upstreams: {{{upstream}: {{credentials: {credentials}}}}}"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{username: u, password: p}", CredentialsSettings("u", Secret("p"))),
        ("{provider: password, username: u, password: p}", CredentialsSettings("u", Secret("p"))),
        ("{provider: docker-config}", CredentialsSettings(provider="docker-config")),
        (
            "{provider: docker-config, path: /a/config.json}",
            CredentialsSettings(provider="docker-config", path=Path("/a/config.json")),
        ),
        (
            "{provider: exec, command: [a, -b, c d], timeout: 5s}",
            CredentialsSettings(provider="exec", command=("a", "-b", "c d"), timeout=5.0),
        ),
        (
            "{provider: ecr, region: eu-west-1}",
            CredentialsSettings(provider="ecr", region="eu-west-1"),
        ),
        ("{provider: google}", CredentialsSettings(provider="google")),
        (
            "{provider: google, key_file: /k.json}",
            CredentialsSettings(provider="google", key_file=Path("/k.json")),
        ),
        ("{provider: acr}", CredentialsSettings(provider="acr")),
        (
            "{provider: acr, client_id: 01234567-89AB-cdef-0123-456789abcdef}",
            CredentialsSettings(provider="acr", client_id="01234567-89AB-cdef-0123-456789abcdef"),
        ),
        ("null", None),
    ],
)
def test_each_provider_has_its_keys(
    load_text: Load, written: str, expected: CredentialsSettings | None
) -> None:
    """One section of credentials is read as its provider wants it."""
    upstream = load_text(_text(written)).upstreams["quay.io"]
    assert upstream.credentials == expected
    assert upstream.accounts == (() if expected is None else (expected,))


def test_several_credentials_keep_their_order(load_text: Load) -> None:
    """A list of credentials is read in its order, secrets from files included."""
    load_text("")
    Path("secret").write_text("hunter2\n", encoding="utf-8")
    text = _text(
        "[{username: b, password_file: secret}, {provider: google}, {username: a, password: p}]"
    )
    upstream = load_text(text).upstreams["quay.io"]
    assert upstream.accounts == upstream.credentials
    assert upstream.accounts == (
        CredentialsSettings("b", Secret("hunter2")),
        CredentialsSettings(provider="google"),
        CredentialsSettings("a", Secret("p")),
    )
    passwords = [settings.password for settings in upstream.accounts]
    assert [password.file for password in passwords if password] == [Path("secret"), None]


def test_a_password_remembers_its_file(load_text: Load) -> None:
    """A password from a file knows which, so that the file can be read again."""
    load_text("")
    Path("secret").write_text("hunter2", encoding="utf-8")
    credentials = (
        load_text(_text("{username: u, password: x}"), {f"{_U}__PASSWORD_FILE": "secret"})
        .upstreams["quay.io"]
        .accounts[0]
    )
    assert credentials.password == Secret("hunter2")
    assert credentials.password.file == Path("secret")


@pytest.mark.parametrize(
    ("host", "ok"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", True),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", True),
        ("public.ecr.aws", True),
        ("quay.io", False),
    ],
)
def test_the_host_says_the_region(load_text: Load, problems: Problems, host: str, ok: bool) -> None:
    """ECR's region is that of the host; where there is none it must be written."""
    text = _text("{provider: ecr}", host)
    if ok:
        assert load_text(text).upstreams[host].accounts[0].region is None
        return
    assert problems(text) == [
        f"c.yaml:1:23: {_AT}.region: is missing, and the registry's host names none; write one "
        "such as eu-west-1"
    ]


def test_the_name_says_the_region_of_what_is_elsewhere(load_text: Load) -> None:
    """A registry of ECR that is reached at another URL is still that one."""
    name = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    text = f"upstreams: {{{name}: {{url: 'http://vpce.example', credentials: {{provider: ecr}}}}}}"
    assert load_text(text).upstreams[name].accounts


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (
            "{provider: ecr2}",
            [
                "47: provider: 'ecr2' is not one of password, docker-config, exec, ecr, google, "
                "acr; did you mean ecr?"
            ],
        ),
        ("{provider: [ecr]}", ["47: provider: must be one value, not a list"]),
        (
            "{provider: exec}",
            ["23: command: " + _NO_COMMAND],
        ),
        (
            "{provider: exec, command: login}",
            ['62: command: must be a list, such as ["login"]'],
        ),
        (
            "{provider: exec, command: [a], timeout: 0s}",
            ["76: timeout: '0s' must be longer than 0s"],
        ),
        (
            "{provider: google, username: a, password_file: missing, region: x}",
            [
                "55: username: is no key of provider google, whose keys are key_file",
                "68: password_file: is no key of provider google, whose keys are key_file",
                "92: region: is no key of provider google, whose keys are key_file",
            ],
        ),
        (
            "{username: a, password: b, key_file: c}",
            ["63: key_file: is no key of provider password, whose keys are username, password"],
        ),
        (
            "{provider: google, keyfile: c}",
            ["55: keyfile: unknown key; did you mean key_file?"],
        ),
        (
            "{provider: docker-config, path: ~me/x}",
            ["68: path: '~me/x' would not be expanded; write ~/ or the whole path"],
        ),
        (
            "{provider: ecr, region: Ireland}",
            ["60: region: 'Ireland' is not a region; write one such as eu-west-1"],
        ),
        (
            "{provider: acr, client_id: acme}",
            [
                "63: client_id: 'acme' is not a client ID; write one such as "
                "01234567-89ab-cdef-0123-456789abcdef"
            ],
        ),
        (
            "{provider: google, client_id: 01234567-89ab-cdef-0123-456789abcdef}",
            ["55: client_id: is no key of provider google, whose keys are key_file"],
        ),
        (
            "{provider: acr, region: x}",
            ["52: region: is no key of provider acr, whose keys are client_id"],
        ),
        ("[]", ["36: is an empty list; write at least one, or remove the key"]),
        (
            "[{provider: exec}, {username: u}, a]",
            [
                "37: [0].command: " + _NO_COMMAND,
                "55: [1].password: is missing; write password or password_file",
                "70: [2]: must be a section; its keys are username, password, provider, path, "
                "command, timeout, region, key_file, client_id",
            ],
        ),
        (
            "[{username: u, password_file: missing}]",
            [
                "66: [0].password_file: 'missing' does not exist; check the name and the current "
                "directory"
            ],
        ),
        (
            "hunter2",
            [
                "36: must be a section; its keys are username, password, provider, path, command, "
                "timeout, region, key_file, client_id"
            ],
        ),
    ],
)
def test_what_is_wrong_with_credentials(problems: Problems, written: str, lines: list[str]) -> None:
    """All that is wrong is said in its place: keys of another provider, and missing ones."""
    found = []
    for line in problems(_text(written)):
        place, _, rest = line.removeprefix("c.yaml:1:").partition(f" {_AT}")
        found.append(f"{place} {rest.removeprefix('.').removeprefix(': ')}")
    assert found == lines


@pytest.mark.parametrize("provider", ["ecr", "google", "acr"])
def test_a_missing_package_is_named(
    problems: Problems, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    """Where a provider's package is not installed, the problem says what to install."""
    monkeypatch.setattr(reading_module, "find_spec", lambda _: None)
    requirement = {
        "ecr": "botocore>=1.40",
        "google": "google-auth[requests]>=2.40",
        "acr": "azure-identity>=1.25",
    }[provider]
    (line,) = problems(_text(f"{{provider: {provider}}}", "public.ecr.aws"))
    assert line.endswith(
        f"provider: {provider} needs a package that is not installed: pip install '{requirement}'"
    )


def test_what_is_to_be_installed_is_what_the_extras_are() -> None:
    """The versions in the message are those of pyproject.toml."""
    project = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    for provider, (_, requirement) in reading_module._PACKAGES.items():
        extra = {"acr": "azure"}.get(provider, provider)
        assert f'{extra} = ["{requirement}"]' in project


def test_the_environment_makes_credentials(load_text: Load) -> None:
    """Variables make one section of credentials, of any provider, and change one of the file."""
    made = load_text(
        "upstreams: {quay.io: }", {f"{_U}__PROVIDER": "exec", f"{_U}__COMMAND": "a, b"}
    )
    expected = CredentialsSettings(provider="exec", command=("a", "b"))
    assert made.upstreams["quay.io"].credentials == expected
    changed = load_text(_text("{username: u, password: p}"), {f"{_U}__USERNAME": "v"})
    assert changed.upstreams["quay.io"].credentials == CredentialsSettings("v", Secret("p"))
    several = _text("[{username: u, password: p}]")
    assert load_text(several, {_U: ""}).upstreams["quay.io"].credentials is None


def test_the_environment_does_not_change_a_list(problems: Problems) -> None:
    """Which of several a variable would mean cannot be said, so it is refused."""
    text = _text("[{username: u, password: p}]")
    assert problems(text, {f"{_U}__USERNAME": "v"}) == [
        f"${_U}__USERNAME: sets a key of credentials, which is a list in the file; write it there"
    ]


def test_only_what_applies_is_shown(load_text: Load) -> None:
    """The effective configuration has a provider's keys alone, hides secrets, and loads again."""
    text = _text(
        "[{provider: exec, command: [a, b]}, {provider: google}, {provider: docker-config}]"
    )
    shown = effective(load_text(text))
    assert load_text(shown) == load_text(text)
    assert "      username" not in shown
    assert "      timeout: 10s\n" in shown
    hidden = effective(load_text(_text("[{username: me, password: hunter2}]")))
    assert "hunter2" not in hidden
    assert "    - username: me\n      password: '***'\n      provider: password\n" in hidden
