import socket
from pathlib import Path

import pytest

from cacheproxy.bootstrap.notifying import ServiceManager


@pytest.mark.parametrize(("sign", "byte"), [("", ""), ("@", "\0")], ids=["a file", "abstract"])
def test_systemd_hears(tmp_path: Path, sign: str, byte: str) -> None:
    """It is told in its words, at a file or at an abstract address."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(byte + name)
        manager = ServiceManager(sign + name)
        manager.ready()
        manager.stopping()
        assert [systemd.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nobody/here", "@nobody"])
def test_nobody_need_listen(address: str) -> None:
    """Without systemd, or with one that has gone, nothing fails."""
    manager = ServiceManager(address)
    assert manager.ready() is None  # type: ignore[func-returns-value]  # that it returns
    assert manager.stopping() is None  # type: ignore[func-returns-value]  # likewise
