import os
from pathlib import Path

import pytest

from cacheproxy.upstream.credentials.files import PasswordFile, WatchedFile
from cacheproxy.upstream.credentials.login import Login, NoLoginError


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b"\xef\xbb\xbfhunter2", "hunter2"),
        ("pass:wörd".encode(), "pass:wörd"),
    ],
)
async def test_a_file_is_a_password(tmp_path: Path, content: bytes, password: str) -> None:
    """The file's text is the password, read as the configuration reads it at start."""
    path = tmp_path / "password"
    path.write_bytes(content)
    assert await PasswordFile("u", path).fetch() == (Login("u", password), None)


async def test_each_way_of_replacing_a_file_is_seen(tmp_path: Path) -> None:
    """A file is seen to change when it is written, renamed over, pointed elsewhere or gone."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "password").write_text(name)
    data, path = tmp_path / "..data", tmp_path / "password"
    data.symlink_to("1")
    path.symlink_to("..data/password")
    source = PasswordFile("u", path)
    assert source.changed()
    assert (await source.fetch())[0].password == "1"
    assert not source.changed()

    # As the kubelet does it: a new directory, and a link that is swapped.
    (tmp_path / "..new").symlink_to("2")
    (tmp_path / "..new").replace(data)
    assert source.changed()
    assert (await source.fetch())[0].password == "2"

    (tmp_path / "renamed").write_text("3")
    (tmp_path / "renamed").replace(path)
    assert source.changed()
    assert (await source.fetch())[0].password == "3"

    path.write_text("longer")
    assert source.changed()
    assert (await source.fetch())[0].password == "longer"

    path.unlink()
    assert source.changed()
    with pytest.raises(NoLoginError, match="No such file"):
        await source.fetch()
    assert not source.changed()
    path.write_text("back")
    assert source.changed()
    assert (await source.fetch())[0].password == "back"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff", "not UTF-8"), (b"x" * 70_000, "64 KiB")],
)
async def test_a_file_without_a_password(tmp_path: Path, content: bytes, said: str) -> None:
    """A file that is empty, no text or too large, gives no password."""
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(NoLoginError, match=said):
        await PasswordFile("u", path).fetch()


async def test_a_volume_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read to its end is given up, and no second thread waits for it."""
    monkeypatch.setattr("cacheproxy.upstream.credentials.files._SECONDS", 0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = WatchedFile(pipe)
    with pytest.raises(NoLoginError, match=r"did not answer within 0\.1 s"):
        await file.read()
    with pytest.raises(NoLoginError, match="still does not answer"):
        await file.read()
    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # lets the thread go
