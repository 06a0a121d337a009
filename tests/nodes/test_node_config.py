"""The script that writes hosts.toml on nodes: idempotent, and nothing is lost, whenever it dies."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.node import CERTS, FOREIGN, MIRROR, Killer, Node, Tree
from tests.support.parts.process import require, wait_until

_SHELLS = {"dash": ("dash", ["dash"]), "busybox": ("busybox", ["busybox", "sh"])}
_REPLACING = {"REPLACE_FOREIGN": "yes"}
_OURS = "# written by cacheproxy node-config"
_ASIDE = "hosts.toml.before-cacheproxy"
_MOST_CALLS = 200
_PROMPT = 60.0


@pytest.fixture(params=_SHELLS)
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    """A node with containerd, and files of others in every place that we write to."""
    package, shell = _SHELLS[request.param]
    program = require(shell[0], package)
    made = Node(tmp_path / "host", tmp_path / "wanted", [program, *shell[1:]])
    made.wanted.mkdir()
    made.hold("quay.io/hosts.toml").chmod(0o640)
    made.hold("quay.io/ca.crt", "an authority")
    made.hold("gcr.io/ca.crt", "an authority")
    made.hold("with space.example.com/hosts.toml")
    made.hold("README", "not a directory")
    (made.certs / "ghcr.io").mkdir(mode=0o700)
    (made.certs / "linked.example.com").symlink_to("quay.io")
    made.hold("broken.example.com/x").rename(made.certs / "broken.example.com/y")
    (made.certs / "broken.example.com/hosts.toml").symlink_to("nowhere")
    made.want(*_WANTED)
    return made


# New ones, one with a directory, an empty one, one with a foreign file, a link to that.
_WANTED = (
    *("_default", "docker.io", "gcr.io", "ghcr.io"),
    *("quay.io", "linked.example.com", "broken.example.com"),
)


@pytest.fixture
def bare(node: Node) -> Node:
    """A node on which nobody has written anything; there is not even the directory."""
    return _emptied(node)


@pytest.fixture(params=["full", "bare"])
def either(request: pytest.FixtureRequest, node: Node) -> Node:
    """The one, or the other."""
    return node if request.param == "full" else _emptied(node)


def _emptied(node: Node) -> Node:
    for path in sorted(node.certs.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    node.certs.rmdir()
    return node


@pytest.fixture
def killer(tmp_path: Path) -> Killer:
    made = Killer(tmp_path / "shims")
    made.directory.mkdir()
    made.prepare()
    return made


def test_what_is_wanted_is_written(node: Node) -> None:
    """Each registry gets its file, which says whose it is, and can be read by all."""
    node.install()
    for registry in ("_default", "docker.io", "gcr.io", "ghcr.io"):
        first, _, rest = node.hosts(registry).read_text().partition("\n")
        assert first.startswith(_OURS)
        assert rest == MIRROR
        assert node.hosts(registry).stat().st_mode & 0o777 == 0o644
    assert node.run("check").returncode == 0


def test_twice_is_as_once(node: Node) -> None:
    """A second run writes nothing and says nothing new."""
    node.install(**_REPLACING)
    once = node.tree()
    inodes = {path: path.lstat().st_ino for path in node.root.rglob("*")}
    again = node.install(**_REPLACING)
    assert node.tree() == once
    assert {path: path.lstat().st_ino for path in node.root.rglob("*")} == inodes
    assert "written" not in again


@pytest.mark.parametrize("variables", [{}, _REPLACING], ids=["kept", "replaced"])
def test_uninstalled_all_is_as_before(node: Node, variables: dict[str, str]) -> None:
    """After all is taken back the tree is the one that was there, with the modes of all files."""
    before = node.tree()
    node.install(**variables)
    assert node.tree() != before
    node.uninstall()
    assert node.tree() == before
    node.uninstall()
    assert node.tree() == before


def test_a_foreign_file_is_kept_and_named(node: Node) -> None:
    """Somebody else's hosts.toml stays as it is unless the operator allows more, and is named."""
    said = node.install()
    assert node.hosts("quay.io").read_text() == FOREIGN
    assert f"{node.hosts('quay.io')} is somebody else's" in said
    assert node.run("check").returncode == 0


def test_a_foreign_file_is_put_aside(node: Node) -> None:
    """Where it may be replaced, it is beside ours until it comes back."""
    node.install(**_REPLACING)
    assert node.hosts("quay.io").read_text().startswith(_OURS)
    assert (node.certs / "quay.io" / _ASIDE).read_text() == FOREIGN


def test_a_link_is_never_replaced(node: Node) -> None:
    """A hosts.toml that is a link is somebody's arrangement, and stays whatever is allowed."""
    said = node.install(**_REPLACING)
    assert node.hosts("broken.example.com").is_symlink()
    assert "broken.example.com/hosts.toml is somebody else's" in said


def test_a_second_foreign_file_is_not_lost(node: Node) -> None:
    """If somebody writes over our file, theirs stays, and so does the one from before us."""
    node.install(**_REPLACING)
    node.hosts("quay.io").write_text("newer")
    assert node.run("install", **_REPLACING).returncode == 1
    node.uninstall()
    assert node.hosts("quay.io").read_text() == "newer"
    assert (node.certs / "quay.io" / _ASIDE).read_text() == FOREIGN


def test_a_foreign_file_beside_ours_stays(node: Node) -> None:
    """What somebody puts into a directory that we made is there when ours is gone."""
    node.install()
    certificate = node.hold("docker.io/ca.crt", "an authority")
    node.uninstall()
    assert certificate.read_text() == "an authority"
    assert not node.hosts("docker.io").exists()


def test_what_is_no_longer_wanted_is_taken_back(node: Node) -> None:
    """A registry that has gone from the configuration is as before; others stay."""
    before = node.tree()
    node.install(**_REPLACING)
    node.want("_default")
    node.install(**_REPLACING)
    ours = {f"{CERTS}/_default", f"{CERTS}/_default/hosts.toml"}
    assert {path: seen for path, seen in node.tree().items() if path not in ours} == before


def test_what_has_changed_is_written_anew(node: Node) -> None:
    """Another text replaces ours, and `check` sees that it is due."""
    node.install()
    node.want("_default", text=MIRROR.replace("5000", "6000"))
    assert node.run("check").returncode == 1
    node.install()
    assert node.hosts("_default").read_text().endswith(MIRROR.replace("5000", "6000"))
    assert node.run("check").returncode == 0


@pytest.mark.parametrize(
    "server", ["http://cache.example.com:5000", "http://cache.example.com:5000/"]
)
def test_a_node_is_never_left_without_a_way_to_pull(node: Node, server: str) -> None:
    """A file whose last host is the mirror itself is refused; all others are written."""
    node.want("docker.io")
    (node.wanted / "_default.toml").write_text(f'server = "{server}"\n{MIRROR}')
    done = node.run("install")
    assert done.returncode == 1
    assert "leaves no way to pull" in done.stderr
    assert not node.hosts("_default").exists()
    assert node.hosts("docker.io").exists()


def test_the_directory_itself(bare: Node) -> None:
    """Where there is no directory for registries it is made, and goes again."""
    before = bare.tree()
    bare.install()
    assert bare.hosts("_default").exists()
    bare.uninstall()
    assert bare.tree() == before


def test_no_containerd(bare: Node) -> None:
    """Where containerd has no directory nothing is written, and that is an error."""
    (bare.root / "etc/containerd").rmdir()
    done = bare.run("install")
    assert done.returncode == 1
    assert "is this a node with containerd?" in done.stderr
    assert bare.uninstall() == ""


def _rounds(node: Node, killer: Killer, command: str, when: str) -> Iterator[int]:
    """Kills the script at each of its calls in turn, while there are so many."""
    for at in range(1, _MOST_CALLS):
        if not killer.run(node, command, at, when, **_REPLACING):
            assert at > 5, "the script calls hardly anything"
            return
        yield at
    raise AssertionError("it calls too much")


def _nothing_lost(node: Node, before: Tree) -> None:
    """Whatever state it is in, somebody else's text is there, whole, under one name or two."""
    directory = node.certs / "quay.io"
    if f"{CERTS}/quay.io" not in before:
        return
    texts = {
        (directory / name).read_text()
        for name in ("hosts.toml", _ASIDE)
        if (directory / name).exists()
    }
    assert FOREIGN in texts
    assert (directory / "ca.crt").read_text() == "an authority"
    for text in texts:
        assert text == FOREIGN or text.endswith(MIRROR)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_installs(either: Node, killer: Killer, when: str) -> None:
    """Killed at any call, it ends what it began when it is run again, and takes all of it back."""
    node, before = either, either.tree()
    node.want("_default", "ghcr.io", "quay.io")  # a new one, an empty one, somebody else's
    node.install(**_REPLACING)
    installed = node.tree()
    node.uninstall()
    for at in _rounds(node, killer, "install", when):
        _nothing_lost(node, before)
        node.install(**_REPLACING)
        assert node.tree() == installed, at
        node.uninstall()
        assert node.tree() == before, at
    node.uninstall()
    for at in _rounds(node, killer, "install", when):
        node.uninstall()
        assert node.tree() == before, at


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_takes_back(either: Node, killer: Killer, when: str) -> None:
    """Killed at any call, taking back is ended by the next run, or undone by an install."""
    node, before = either, either.tree()
    node.want("_default", "ghcr.io", "quay.io")  # a new one, an empty one, somebody else's
    node.install(**_REPLACING)
    installed = node.tree()
    for at in _rounds(node, killer, "uninstall", when):
        _nothing_lost(node, before)
        node.install(**_REPLACING)
        assert node.tree() == installed, at
    assert node.tree() == before
    node.install(**_REPLACING)
    for at in _rounds(node, killer, "uninstall", when):
        node.uninstall()
        assert node.tree() == before, at
        node.install(**_REPLACING)


def _watching(node: Node, restore: str) -> "subprocess.Popen[bytes]":
    variables = {"PERIOD": "0.1", "RESTORE_ON_EXIT": restore}
    return subprocess.Popen(
        node.argv("watch"), env=os.environ | variables, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("restore", ["yes", "no"])
def test_it_is_watched(node: Node, restore: str) -> None:
    """What is taken away comes again; at SIGTERM all goes if that is wanted, and else stays."""
    before = node.tree()
    watching = _watching(node, restore)
    try:
        wait_until(node.hosts("gcr.io").exists, _PROMPT, "it is written")
        node.hosts("gcr.io").unlink()
        wait_until(node.hosts("gcr.io").exists, _PROMPT, "it is written again")
    finally:
        watching.send_signal(signal.SIGTERM)
        code = watching.wait(_PROMPT)
    assert code == 0
    if restore == "yes":
        assert node.tree() == before
    else:
        assert node.run("check").returncode == 0


def test_watching_outlives_a_failure(bare: Node) -> None:
    """A node that cannot be written to is looked at again, until it can."""
    containerd = bare.root / "etc/containerd"
    containerd.rmdir()
    watching = _watching(bare, "no")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            watching.wait(0.5)
        containerd.mkdir()
        wait_until(bare.hosts("_default").exists, _PROMPT, "it is written")
    finally:
        watching.terminate()
        watching.wait(_PROMPT)


_CONFIGS = {
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{}"\n': True,
    "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '{}'\n": True,
    'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/a:{}"\n': True,
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = ""\n': False,
    'version = 2\n[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "{}"\n': False,
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n# config_path = "{}"\n': False,
    "version = 2\n": False,
}


@pytest.mark.parametrize("place", ["etc/containerd", "var/lib/rancher/k3s/agent/etc/containerd"])
@pytest.mark.parametrize(("text", "is_set"), _CONFIGS.items(), ids=range(len(_CONFIGS)))
def test_a_containerd_that_does_not_look_is_named(
    node: Node, place: str, text: str, is_set: bool
) -> None:
    """A configuration without `config_path` is warned of, in each version's form, not edited."""
    config = node.root / place / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(text.format("/etc/containerd/certs.d"))
    said = node.install()
    assert (f"warning: {config}" not in said) is is_set
    assert config.read_text() == text.format("/etc/containerd/certs.d")


@pytest.mark.parametrize(
    "arguments",
    [[], ["install"], ["install", "/"], ["uninstall"], ["uninstall", "/", "x"], ["x", "/"]],
)
def test_how_it_is_used(node: Node, arguments: list[str]) -> None:
    """A command line that is wrong changes nothing, and exits with 2."""
    done = subprocess.run([*node.argv("x")[:-3], *arguments], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"usage:" in done.stderr
