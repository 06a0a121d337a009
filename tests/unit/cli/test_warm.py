import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cacheproxy.cli import api, commands, progress
from cacheproxy.cli.configuration import RunFailure
from cacheproxy.domain.warming import WarmStep, line, summed
from tests.support.clock import FakeClock

Run = Callable[..., Result]

DONE = WarmStep("docker.io/library/nginx:1", "done", None, 2, 2, 3000, 3000, 2048, 0, 952, 1.5)
FAILED = WarmStep("docker.io/library/gone:1", "failed", error="upstream has no such manifest")


class Server:
    """Answers as the API does, in the place of one."""

    def __init__(self) -> None:
        self.asked: list[tuple[api.AdminApi, dict[str, Any]]] = []
        self.steps = [WarmStep(DONE.image, "fetching", None, 2, 1, 3000, 1000), DONE]
        self.stop: BaseException | None = None

    def stream(self, where: api.AdminApi, body: Any, each: Callable[[Any], None]) -> None:
        """What `AdminApi.stream` does."""
        self.asked.append((where, body))
        for step in self.steps:
            each(json.loads(json.dumps(line(step))))
        if self.stop is not None:
            raise self.stop
        each(line(summed([step for step in self.steps if step.is_over], 2.0)))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """All commands ask it, with a token that is right."""
    made = Server()

    def stream(where: api.AdminApi, path: str, body: Any, each: Callable[[Any], None]) -> None:
        assert path == "/api/v1/warm"
        made.stream(where, body, each)

    monkeypatch.setattr(api.AdminApi, "stream", stream)
    monkeypatch.setenv("CACHEPROXY_SERVER", "cache.example.com:5001")
    monkeypatch.setenv("CACHEPROXY_TOKEN", "s3cret")
    return made


def _asked(server: Server) -> list[str]:
    return [image for _, body in server.asked for image in body["images"]]


def test_an_image_is_a_line(run: Run, server: Server) -> None:
    """Each image has a line with where its bytes came from, and the end has the sums."""
    server.steps.append(FAILED)
    result = run("warm", "nginx:1", "gone:1")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "docker.io/library/nginx:1: warm, 2.0 KiB from upstream, 952 bytes here already",
        "docker.io/library/gone:1: failed: upstream has no such manifest",
        "1 image warm, 1 failed, 2 seconds",
        "      2.0 KiB from upstream",
        "    952 bytes here already",
    ]
    assert result.stderr == ""


def test_all_warm_is_code_0(run: Run, server: Server) -> None:
    """What succeeded is 0, and the request says what was asked for."""
    result = run("warm", "nginx:1", "--platform", "linux/arm64", "--parallel", "5")
    assert result.exit_code == 0
    ((where, body),) = server.asked
    assert body == {"images": ["nginx:1"], "platforms": ["linux/arm64"], "parallel": 5}
    assert (where.url, where.token) == ("http://cache.example.com:5001", "s3cret")


@pytest.mark.parametrize(
    ("machine", "said"), [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64")]
)
def test_the_platform_is_this_hosts(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, machine: str, said: str
) -> None:
    """Without `--platform` it is what this host is, by the name that images have for it."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    run("warm", "nginx")
    assert server.asked[0][1]["platforms"] == [said]


def test_one_json_object(run: Run, server: Server) -> None:
    """With --json there is one object, with the last that was said of each image."""
    server.steps.append(FAILED)
    result = run("warm", "--json", "nginx:1", "gone:1")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [image["state"] for image in report["images"]] == ["done", "failed"]
    assert (report["done"], report["failed"], report["fetched_bytes"]) == (1, 1, 2048)
    assert (report["ok"], report["stopped"], report["asked"]) == (False, False, 2)


def test_lists_of_images(run: Run, server: Server, tmp_path: Path) -> None:
    """Images come from arguments, files and standard input, each once, in that order."""
    Path("a.txt").write_text("redis:7 # cache\nnginx:1\n")
    Path("b.json").write_text('["busybox"]')
    pods = json.dumps({"apiVersion": "v1", "spec": {"containers": [{"image": "quay.io/a/b:1"}]}})
    arguments = ["warm", "nginx:1", "--file", "a.txt", "--file", "b.json", "--from", "-"]
    result = CliRunner().invoke(commands, arguments, input=pods)
    assert result.exit_code == 0
    assert _asked(server) == ["nginx:1", "redis:7", "busybox", "quay.io/a/b:1"]


def test_many_images_are_several_requests(run: Run, server: Server) -> None:
    """No request becomes too long for a server, and the sums are of all."""
    Path("all").write_text("\n".join(f"app:{number}" for number in range(2500)))
    result = run("warm", "--file", "all")
    assert [len(body["images"]) for _, body in server.asked] == [1000, 1000, 500]
    assert "6 seconds" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "There is no image to warm"),
        (("--file", "empty"), "There is no image to warm"),
        (("--file", "missing"), "missing: No such file or directory"),
        (("--file", "yaml"), "yaml: line 1: 'image:' is no image's name"),
        (("a", "--platform", "amd64"), "'amd64' is not a platform"),
        (("a", "--parallel", "0"), "0 is not in the range"),
        (("a", "--server", "ftp://x"), "'ftp://x' is no server"),
        (("a", "--server", "http://x:99999"), "is no server"),
        (("a", "--server", "http://"), "is no server"),
    ],
)
def test_a_wrong_command_line_is_code_2(
    run: Run, server: Server, arguments: tuple[str, ...], said: str
) -> None:
    """What is wrong is said before the server is asked."""
    Path("empty").write_text("# nothing\n")
    Path("yaml").write_text("image: nginx\n")
    result = run("warm", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not server.asked


def test_ctrl_c_says_how_to_go_on(run: Run, server: Server) -> None:
    """It is code 130, with what was done until then, and that the rest costs only itself."""
    server.stop = KeyboardInterrupt()
    result = run("warm", "nginx:1", "redis", "busybox")
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == (
        "stopped, with 2 to go; run it again: only what is missing is fetched"
    )
    assert json.loads(run("warm", "--json", "nginx:1").stdout)["stopped"]


def test_a_server_that_ends_in_the_middle(run: Run, server: Server) -> None:
    """What was said until then is shown, and that the rest is to be asked for again."""
    server.stop = RunFailure("cacheproxy: the connection broke off")
    result = run("warm", "nginx:1", "redis")
    assert result.exit_code == 1
    assert "1 image warm" in result.stdout
    assert result.stderr == "cacheproxy: the connection broke off\n"


# -- where the server is -------------------------------------------------------------------


def _configure(text: str) -> None:
    Path("config").mkdir(exist_ok=True)
    Path("config/cacheproxy.yaml").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:5001", "http://127.0.0.1:5001"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("':9'", "http://127.0.0.1:9"),
        ("'[::]:9'", "http://[::1]:9"),
        ("'[::1]:9'", "http://[::1]:9"),
        ("admin.example.com:9", "http://admin.example.com:9"),
    ],
)
def test_the_server_is_the_configured_one(
    run: Run, monkeypatch: pytest.MonkeyPatch, listen: str, url: str
) -> None:
    """Without a name for it, it is where the configuration says, and on this host."""
    _configure(f"admin: {{listen: {listen}}}\ncache: {{directory: cache}}\n")
    assert api.find_api().url == url
    assert api.find_api(server="other:7").url == "http://other:7"
    monkeypatch.setenv("CACHEPROXY_SERVER", "https://proxy.example.com/admin/")
    assert api.find_api().url == "https://proxy.example.com/admin"


def test_where_the_token_is_looked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option's file goes before the variable, that before the cache directory's.

    The last is the token of the server of this host, and is shown to no other.
    """
    _configure("cache: {directory: cache}\n")
    assert api.find_api().token is None
    Path("cache").mkdir()
    Path("cache/admin.token").write_text("of-the-directory\n")
    assert api.find_api().token == "of-the-directory"
    assert api.find_api(server="localhost:7").token == "of-the-directory"
    assert api.find_api(server="http://127.0.0.1:5001").token == "of-the-directory"
    assert api.find_api(server="other.example.com:5001").token is None
    monkeypatch.setenv("CACHEPROXY_TOKEN", "of-the-variable")
    assert api.find_api().token == "of-the-variable"
    Path("token").write_text(" of-the-file \n")
    assert api.find_api(token_file=Path("token")).token == "of-the-file"


def test_no_configuration_is_needed_where_all_is_named(run: Run) -> None:
    """With a server and a token on the command line, a wrong configuration is no matter."""
    _configure("nonsense: 1\n")
    Path("token").write_text("t")
    assert api.find_api(server="a:1", token_file=Path("token")).token == "t"
    result = run("warm", "nginx")
    assert result.exit_code == 2
    assert "nonsense: unknown key" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"\xff", "not ASCII"), (b"\n", "is empty")]
)
def test_a_token_that_cannot_be_read(run: Run, content: bytes | None, said: str) -> None:
    """It is said which file is wrong, and how."""
    if content is not None:
        Path("token").write_bytes(content)
    result = run("warm", "nginx", "--token-file", "token")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "token" in result.stderr
    Path("directory").mkdir()
    result = run("warm", "nginx", "--token-file", "directory")
    assert "run this as the user that the server runs as" in result.stderr


# -- progress ------------------------------------------------------------------------------


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, progress of all is one line every half minute, on standard error."""
    clock = FakeClock()
    bars = progress.BarLines(3, clock.monotonic)
    bars.show("a", 1024, 2048)
    clock.advance(31)
    bars.show("b", 1024, 4096)
    bars.end("a")
    bars.show("b", 2048, 4096)
    clock.advance(31)
    bars.show("b", 3072, 4096)
    bars.say("a: warm")
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "0 of 3 are over; under way: 2.0 KiB of 6.0 KiB",
        "1 of 3 are over; under way: 3.0 KiB of 4.0 KiB",
    ]
    assert said.out == "a: warm\n"


def test_a_long_name_is_shown_by_its_end() -> None:
    """Before a bar there is room for the part of a name that tells images apart."""
    running = progress._rich()
    bars = progress._Bars(running)
    name = "registry.example.com/a/very/long/path/of/teams/application:1.2.3"
    bars.show(name, 10, 0)
    (task,) = running.tasks
    assert task.description[0] == "…"
    assert name.endswith(task.description[1:])
    assert len(task.description) == 40
    assert task.total is None
    bars.show(name, 20, 100)
    assert [task.completed, task.total] == [20, 100]
    bars.end(name)
    assert not running.tasks
