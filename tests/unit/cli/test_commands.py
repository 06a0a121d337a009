import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

import cacheproxy
from cacheproxy import cli

Run = Callable[..., Result]


def test_the_version_is_the_package_s(run: Run) -> None:
    """--version prints the name and the version, for scripts too."""
    assert run("--version").stdout == f"cacheproxy {cacheproxy.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("check",),
        ("scrub",),
        ("explain",),
        ("purge",),
        ("plan",),
        ("warm",),
        ("stats",),
        ("client-config",),
        ("doctor",),
    ],
)
def test_help_teaches(run: Run, command: tuple[str, ...]) -> None:
    """Each help has examples and the exit codes, as written: not wrapped into one paragraph."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "\n  Examples:\n    cacheproxy " in result.stdout
    assert "\n  Exit codes:\n    0  " in result.stdout
    assert run(*command, "-h").stdout == result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sevre",), "No such command 'sevre'"),
        (("serve", "--port", "80"), "No such option"),
        (("serve", "a.yaml"), "unexpected extra argument"),
        (("check", "--config"), "requires an argument"),
        (("explain",), "Missing argument 'IMAGE|DIGEST'"),
        (("purge",), "Missing argument"),
    ],
)
def test_a_wrong_command_line_is_code_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """What is wrong with the command line is said on standard error, with code 2."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_the_console_script_exits_with_the_command_s_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`main` reads the process's arguments and exits with the command's code."""
    monkeypatch.setattr(sys, "argv", ["cacheproxy", "--version"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 0
    assert capsys.readouterr().out == f"cacheproxy {cacheproxy.__version__}\n"


def test_the_command_line_does_not_load_the_server() -> None:
    """Help and check need not wait for the server: importing the commands imports no aiohttp."""
    heavy = ["aiohttp", "redis", "rich", "diskcache", "structlog", "cacheproxy.bootstrap"]
    code = f"import sys, cacheproxy.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
