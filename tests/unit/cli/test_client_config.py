import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from click.testing import Result

Run = Callable[..., Result]

SERVER = ("--server", "http://cache.example.com:5000")
HOSTS = Path("root/etc/containerd/certs.d/_default/hosts.toml")


@pytest.fixture
def root(run: Run) -> Path:
    """An empty root."""
    Path("root").mkdir()
    return Path("root")


def test_files_are_printed_and_what_to_do_is_said_beside(run: Run) -> None:
    """Standard output has the files, with their paths; standard error has the steps."""
    result = run("client-config", "k3s", *SERVER)
    assert result.exit_code == 0
    assert result.stdout == (
        "==> /etc/rancher/k3s/registries.yaml <==\n"
        "mirrors:\n"
        '  "*":\n'
        '    endpoint: ["http://cache.example.com:5000"]\n'
    )
    assert "systemctl restart k3s" in result.stderr


def test_json_has_files_notes_and_steps(run: Run) -> None:
    """--json prints the same as one object."""
    document = json.loads(run("client-config", "docker", *SERVER, "--json").stdout)
    assert document["server"] == SERVER[1]
    assert document["files"][0]["path"] == "/etc/docker/daemon.json"
    assert document["steps"][-1].startswith("Check: ")


def test_upstreams_are_those_of_the_configuration(run: Run) -> None:
    """Its registries and their aliases are written, and no others."""
    Path("a.yaml").write_text(
        "default_upstream: null\nupstreams: {registry.example.com: {aliases: [old.example.com]}}\n",
        encoding="utf-8",
    )
    result = run("client-config", "podman", *SERVER, "--config", "a.yaml")
    prefixes = [line for line in result.stdout.splitlines() if line.startswith("prefix")]
    assert prefixes == ['prefix = "registry.example.com"', 'prefix = "old.example.com"']


@pytest.mark.parametrize(
    ("listen", "server", "note"),
    [
        ("127.0.0.1:5000", "http://127.0.0.1:5000", "only clients on this machine"),
        ("192.0.2.1:80", "http://192.0.2.1:80", None),
        ("[2001:db8::1]:5000", "http://[2001:db8::1]:5000", None),
    ],
)
def test_the_server_is_where_it_listens(
    run: Run, listen: str, server: str, note: str | None
) -> None:
    """Without --server it is the address of `server.listen`."""
    result = run("client-config", "k3s", "--json", CACHEPROXY__SERVER__LISTEN=listen)
    document = json.loads(result.stdout)
    assert document["server"] == server
    assert len(document["notes"]) == (note is not None)
    assert note is None or note in document["notes"][0]


def test_every_interface_is_a_guess_and_said_to_be_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's name is taken, with a word on --server."""
    monkeypatch.setattr("socket.gethostname", lambda: "Node1")
    document = json.loads(run("client-config", "k3s", "--json").stdout)
    assert document["server"] == "http://node1:5000"
    assert "is a guess" in document["notes"][0]
    assert "--server" in document["notes"][0]


def test_a_port_that_changes_cannot_be_written(run: Run) -> None:
    """Port 0 is another one each time, so --server is asked for."""
    result = run("client-config", "k3s", CACHEPROXY__SERVER__LISTEN="127.0.0.1:0")
    assert result.exit_code == 2
    assert "give --server" in result.stderr


def test_tls_is_that_of_the_configuration(run: Run) -> None:
    """With `server.tls` it is https, and whose authority clients need is asked for."""
    Path("a.yaml").write_text(
        "server: {listen: 192.0.2.1:5000, tls: {certificate: c.pem, key: k.pem}}\n",
        encoding="utf-8",
    )
    told = json.loads(run("client-config", "k3s", "--json", "--config", "a.yaml").stdout)
    assert told["server"] == "https://192.0.2.1:5000"
    assert "give --ca" in told["notes"][0]
    plain = run("client-config", "k3s", *SERVER, "--json", "--config", "a.yaml")
    assert "speaks HTTPS only" in json.loads(plain.stdout)["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("client-config", "rkt"), "is not one of"),
        (("client-config", "k3s", "--server", "cache:5000"), "must begin with https://"),
        (("client-config", "k3s", "--server", "http://cache/x"), "must not have a path"),
        (("client-config", "k3s", "--ca", "none.pem"), "cannot be read"),
        (("client-config", "k3s", "--write", "nowhere"), "does not exist"),
    ],
)
def test_a_wrong_command_line_is_code_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """What cannot be is said on standard error, with code 2, and nothing is printed."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_a_file_that_is_no_authority_is_refused(run: Run) -> None:
    """Neither something else nor a private key gets to the clients."""
    Path("x.pem").write_text("hello", encoding="utf-8")
    assert "no certificate" in run("client-config", "k3s", "--ca", "x.pem").stderr
    pem = trustme.CA().issue_cert("a.example").private_key_and_cert_chain_pem.bytes()
    Path("x.pem").write_bytes(pem)
    result = run("client-config", "k3s", "--ca", "x.pem")
    assert result.exit_code == 2
    assert "private key" in result.stderr


def test_a_wrong_configuration_is_code_2(run: Run) -> None:
    """It is said as by check."""
    result = run("client-config", "k3s", *SERVER, CACHEPROXY__SERVER__WORKERS="0")
    assert result.exit_code == 2
    assert "$CACHEPROXY__SERVER__WORKERS" in result.stderr


# -- writing ---------------------------------------------------------------------------


def test_files_are_written_below_the_root(run: Run, root: Path) -> None:
    """What is written is what is printed; a second time, nothing changes."""
    printed = run("client-config", "containerd", *SERVER).stdout.partition("\n")[2]
    first = run("client-config", "containerd", *SERVER, "--write", "root")
    assert first.exit_code == 0
    assert HOSTS.read_text(encoding="utf-8") == printed
    assert HOSTS.stat().st_mode & 0o777 == 0o644
    assert first.stdout == f"{HOSTS.resolve()}: written\n"
    again = run("client-config", "containerd", *SERVER, "--write", "root")
    assert again.stdout == f"{HOSTS.resolve()}: unchanged\n"
    assert [path for path in root.rglob("*") if path.is_file()] == [HOSTS]


def test_a_file_that_differs_is_not_lost(run: Run, root: Path) -> None:
    """It is left without --force, and nothing else is written; with it, a copy stays."""
    HOSTS.parent.mkdir(parents=True)
    HOSTS.write_text("mine\n", encoding="utf-8")
    authority = Path("ca.pem")
    authority.write_bytes(trustme.CA().cert_pem.bytes())
    command = ("client-config", "containerd", "--server", "https://a:1", "--ca", "ca.pem")
    refused = run(*command, "--write", "root")
    assert refused.exit_code == 1
    assert "is there and is different" in refused.stderr
    assert "--force" in refused.stderr
    assert HOSTS.read_text(encoding="utf-8") == "mine\n"
    assert list(HOSTS.parent.iterdir()) == [HOSTS]
    forced = run(*command, "--write", "root", "--force")
    assert forced.exit_code == 0
    assert HOSTS.with_name("hosts.toml.bak").read_text(encoding="utf-8") == "mine\n"
    assert 'host."https://a:1"' in HOSTS.read_text(encoding="utf-8")


def test_an_older_copy_is_not_lost_either(run: Run, root: Path) -> None:
    """The second copy gets another name."""
    HOSTS.parent.mkdir(parents=True)
    for number in (1, 2):
        HOSTS.write_text(f"{number}\n", encoding="utf-8")
        run("client-config", "containerd", *SERVER, "--write", "root", "--force")
    copies = [HOSTS.with_name(f"hosts.toml.{end}") for end in ("bak", "bak2")]
    assert [copy.read_text(encoding="utf-8") for copy in copies] == ["1\n", "2\n"]


def test_daemon_json_is_added_to(run: Run, root: Path) -> None:
    """Without --force what it says stays, and what it was is beside it."""
    daemon = Path("root/etc/docker/daemon.json")
    daemon.parent.mkdir(parents=True)
    daemon.write_text('{"debug": true}', encoding="utf-8")
    daemon.chmod(0o600)
    result = run("client-config", "docker", *SERVER, "--write", "root", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["files"][0] == {
        "path": str(daemon.resolve()),
        "done": "added to",
        "kept": f"{daemon.resolve()}.bak",
    }
    document = json.loads(daemon.read_text(encoding="utf-8"))
    assert (document["debug"], document["registry-mirrors"]) == (True, [SERVER[1]])
    assert daemon.with_name("daemon.json.bak").read_text(encoding="utf-8") == '{"debug": true}'
    assert daemon.stat().st_mode & 0o777 == 0o600


def test_a_daemon_json_that_is_broken_is_left(run: Run, root: Path) -> None:
    """It cannot be added to, also with --force, and nothing else is written."""
    daemon = Path("root/etc/docker/daemon.json")
    daemon.parent.mkdir(parents=True)
    daemon.write_text("{", encoding="utf-8")
    result = run("client-config", "docker", *SERVER, "--write", "root", "--force")
    assert result.exit_code == 1
    assert "cannot be added to" in result.stderr
    assert [path for path in root.rglob("*") if path.is_file()] == [daemon]


def test_nothing_is_written_outside_of_the_root(run: Run, root: Path, tmp_path: Path) -> None:
    """A link that leads out of it is not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "etc").symlink_to(elsewhere)
    result = run("client-config", "k3s", *SERVER, "--write", "root")
    assert result.exit_code == 1
    assert "not below root" in result.stderr
    assert list(elsewhere.iterdir()) == []
