import json
from collections.abc import Callable

import pytest
from click.testing import Result

from cacheproxy.cli.doctor import _Shown
from cacheproxy.doctor.findings import Finding

Run = Callable[..., Result]


def test_a_wrong_configuration_is_code_2(run: Run) -> None:
    """It is said to have failed, with each problem as check prints it."""
    result = run("doctor", CACHEPROXY__SERVER__WORKERS="0")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "FAILED   configuration\n$CACHEPROXY__SERVER__WORKERS: " in result.stderr


def test_a_wrong_configuration_is_a_finding_in_json(run: Run) -> None:
    """Scripts find it where they find the rest."""
    result = run("doctor", "--json", CACHEPROXY__SERVER__WORKERS="0")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["ok"] is False
    (finding,) = document["findings"]
    assert (finding["name"], finding["state"]) == ("configuration", "failed")
    assert "cacheproxy check" in finding["advice"]


@pytest.mark.parametrize("image", ["gcr2.example.com/a/b:1", "docker.io/a b", "a@sha256:0"])
def test_an_image_that_cannot_be_is_code_2(run: Run, image: str) -> None:
    """It is refused before anything is looked at."""
    result = run("doctor", "--image", image)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr


def test_on_a_terminal_it_says_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That goes to standard error, is written over by what is found, and fits into a line."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    shown = _Shown(as_json=False)
    shown.waiting(["docker.io", *["quay.io"] * 20])
    shown.found([Finding("docker.io", "failed", "it is away", "look")])
    said = capsys.readouterr()
    assert said.out == "FAILED   docker.io: it is away\n         -> look\n"
    line = said.err.split("\r\033[K")[1]
    assert line.startswith("still looking at docker.io, quay.io")
    assert len(line) < 80
    assert said.err.endswith("\r\033[K")


def test_elsewhere_only_what_is_found_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe gets no control characters, and scripts no lines before their JSON."""
    shown = _Shown(as_json=False)
    shown.waiting(["docker.io"])
    shown.found([Finding("docker.io", "ok", "it is there")])
    assert capsys.readouterr() == ("ok       docker.io: it is there\n", "")
    silent = _Shown(as_json=True)
    silent.found([Finding("docker.io", "ok", "it is there")])
    assert capsys.readouterr() == ("", "")
