import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import cacheproxy
from cacheproxy import cli
from cacheproxy.cli import commands
from cacheproxy.cli.lazy_group import LazyGroup

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


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("serve", "--help")])
def test_help_and_version_load_no_more_than_click(arguments: tuple[str, ...]) -> None:
    """Nobody waits for the server or the settings in order to read a help text."""
    loaded = _loaded_by(*arguments)
    slow = ("aiohttp", "asyncio", "msgspec", "pydantic", "redis", "rich", "structlog", "yaml")
    assert not loaded & {*slow, "cacheproxy.bootstrap", "cacheproxy.settings"}
    # Beside those: click and what it loads, which is about 150.
    assert len(loaded) < 250


def test_checking_does_not_load_the_server(tmp_path: Path) -> None:
    """`check` loads the settings, and not the server that they are for."""
    loaded = _loaded_by("check", cwd=tmp_path)
    slow = {"aiohttp", "asyncio", "diskcache", "prometheus_client", "redis", "rich", "structlog"}
    assert not loaded & {*slow, "cacheproxy.bootstrap"}
    assert "cacheproxy.settings" in loaded


def test_each_command_is_listed_with_its_first_sentence() -> None:
    """The list of commands, which imports none of them, says what each of them says."""
    context = click.Context(commands)
    assert isinstance(commands, LazyGroup)
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    for name, summary in commands.summaries.items():
        command = commands.get_command(context, name)
        assert command is not None
        assert (command.name, command.get_short_help_str(1000)) == (name, summary)
    assert {name.replace("-", "_") for name in commands.list_commands(context)} <= modules


def _loaded_by(*arguments: str, cwd: Path | None = None) -> set[str]:
    """Run a command; return the names of the modules that it has imported."""
    code = (
        "import atexit, sys; from cacheproxy.cli import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    command = [sys.executable, "-c", code, *arguments]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env=env)
    return set(done.stderr.splitlines()[-1].split())
