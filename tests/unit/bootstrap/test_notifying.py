import socket
from pathlib import Path

import pytest

from cacheproxy.bootstrap.notifying import tell_systemd


@pytest.mark.parametrize("is_abstract", [False, True])
def test_systemd_hears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool
) -> None:  # a parameter of pytest's
    """It is told in its words, at a file or at an abstract address."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if is_abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if is_abstract else name)
        tell_systemd("READY=1")
        tell_systemd("STOPPING=1")
        assert [systemd.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", [None, "", "vsock:2:1", "/nobody/here", "@nobody"])
def test_nobody_need_listen(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """Without systemd, or with one that has gone, nothing fails."""
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert tell_systemd("READY=1") is None  # type: ignore[func-returns-value]  # that it returns
