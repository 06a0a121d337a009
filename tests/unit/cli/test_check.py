import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from cacheproxy.settings import effective, effective_values, load
from tests.support import images
from tests.support.cached import Cached

Run = Callable[..., Result]

_NOTE = "cacheproxy: there is no config/cacheproxy.yaml here; using the built-in defaults\n"


def test_check_prints_the_effective_configuration(run: Run) -> None:
    """A right configuration is printed on standard output with its defaults; the code is 0."""
    Path("a.yaml").write_text("cache: {max_size: 1GiB}\n", encoding="utf-8")
    result = run("check", "--config", "a.yaml")
    assert result.exit_code == 0
    assert result.stdout == effective(load(Path("a.yaml"), {}))
    assert "max_size: 1GiB\n" in result.stdout
    assert result.stderr == ""


def test_check_prints_every_problem(run: Run) -> None:
    """All problems go to standard error, one on a line, nothing to standard output; code 2."""
    Path("a.yaml").write_text("cache:\n  max_sizee: 1\nzzzz: 1\n", encoding="utf-8")
    result = run("check", "--config", "a.yaml", CACHEPROXY__SERVER__WORKERS="x")
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0] == "a.yaml:2:3: cache.max_sizee: unknown key; did you mean max_size?"
    assert [line.split(" ")[0] for line in lines[1:]] == [
        "a.yaml:3:1:",
        "$CACHEPROXY__SERVER__WORKERS:",
    ]


def test_check_speaks_json(run: Run) -> None:
    """With --json a right configuration comes as an object, secrets hidden."""
    Path("a.yaml").write_text(
        "upstreams: {quay.io: {credentials: {username: me, password: hunter2}}}", encoding="utf-8"
    )
    result = run("check", "--json", "--config", "a.yaml")
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert json.loads(result.stdout) == {
        "ok": True,
        "settings": effective_values(load(Path("a.yaml"), {})),
    }


def test_check_speaks_json_of_problems(run: Run) -> None:
    """With --json problems come as an object on standard output too; the code is 2."""
    Path("a.yaml").write_text("cache:\n  max_sizee: 1\n", encoding="utf-8")
    result = run("check", "--json", "--config", "a.yaml", CACHEPROXY__CACHE__MIN_FREE="0")
    assert result.exit_code == 2
    assert result.stderr == ""
    assert json.loads(result.stdout) == {
        "ok": False,
        "problems": [
            {
                "file": "a.yaml",
                "line": 2,
                "column": 3,
                "path": "cache.max_sizee",
                "message": "unknown key; did you mean max_size?",
            },
            {
                "file": None,
                "line": None,
                "column": None,
                "path": "$CACHEPROXY__CACHE__MIN_FREE",
                "message": "'0' must be at least one byte",
            },
        ],
    }


def test_the_defaults_are_used_with_a_note(run: Run) -> None:
    """Without any file the defaults are checked, and a line on standard error says so."""
    result = run("check")
    assert (result.exit_code, result.stderr) == (0, _NOTE)
    assert result.stdout == effective(load(None, {}))


def test_the_file_is_looked_for_in_order(run: Run) -> None:
    """--config goes before $CACHEPROXY_CONFIG, that before config/cacheproxy.yaml."""
    Path("config").mkdir()
    for name, size in (("a", 1), ("b", 2), ("config/cacheproxy", 3)):
        Path(f"{name}.yaml").write_text(f"cache: {{max_size: {size}GiB}}", encoding="utf-8")
    assert "max_size: 1GiB" in run("check", "--config", "a.yaml", CACHEPROXY_CONFIG="b.yaml").stdout
    assert "max_size: 2GiB" in run("check", CACHEPROXY_CONFIG="b.yaml").stdout
    assert "max_size: 3GiB" in run("check").stdout


def test_a_file_that_is_named_must_be_there(run: Run) -> None:
    """A file that is named and missing is a configuration error, not a reason for defaults."""
    for result in (run("check", "--config", "x.yaml"), run("check", CACHEPROXY_CONFIG="x.yaml")):
        assert result.exit_code == 2
        assert result.stderr == (
            "x.yaml: does not exist; check the name and the current directory\n"
        )


def test_check_adds_up_what_is_pinned(run: Run, tmp_path: Path) -> None:
    """Pins that do not fit are a problem, before the server streams them past the disk."""
    cached = Cached(tmp_path / "cache")
    image = images.simple(seed=3, size=300_000)
    cached.image("docker.io/library/pause:3", image)
    cached.image("docker.io/library/other:1", images.simple(seed=4, size=300_000))
    cached.path(image.layers[0].digest).unlink()  # which the manifest still tells the size of
    for allowed, code in (("100KiB", 2), ("2MiB", 0)):
        Path("a.yaml").write_text(
            f"cache: {{directory: {tmp_path / 'cache'}, max_size: {allowed},"
            " pins: ['docker.io/library/pause:*']}",
            encoding="utf-8",
        )
        result = run("check", "--config", "a.yaml")
        assert result.exit_code == code
        said = json.loads(run("check", "--json", "--config", "a.yaml").stdout)
        assert said["ok"] is (code == 0)
        if code:
            assert result.stderr.startswith("cache.max_size: allows 100.0 KiB, and what cache.pins")
            assert "pin less, or allow more" in result.stderr
            assert [problem["path"] for problem in said["problems"]] == ["cache.max_size"]


def test_check_leaves_a_cache_that_is_not_there_alone(run: Run, tmp_path: Path) -> None:
    """Before the first start nothing is pinned yet, and nothing is made by looking."""
    Path("a.yaml").write_text(
        f"cache: {{directory: {tmp_path / 'cache'}, pins: ['docker.io/library/pause:*']}}",
        encoding="utf-8",
    )
    assert run("check", "--config", "a.yaml").exit_code == 0
    assert not (tmp_path / "cache").exists()
