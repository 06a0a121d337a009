"""What a running process takes over of a changed configuration."""

from pathlib import Path

import pytest

from cacheproxy.settings import Settings, load
from cacheproxy.settings.changes import changes


def _load(text: str, tmp_path: Path) -> Settings:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


_BASE = "upstreams: {docker.io: {}, quay.io: {}}\n"


@pytest.mark.parametrize(
    ("text", "taken_over", "at_restart"),
    [
        (_BASE, (), ()),
        (_BASE + "cache: {max_size: 1GiB}", ("cache.max_size",), ()),
        (
            _BASE + "cache: {max_size: 1GiB, directory: x, pins: ['docker.io/a:1']}",
            ("cache.max_size", "cache.pins"),
            ("cache.directory",),
        ),
        (
            "upstreams: {docker.io: {tags: {fresh_for: 5m}, deny: ['a/**']}, quay.io: {}}",
            ("upstreams.docker.io.tags.fresh_for", "upstreams.docker.io.deny"),
            (),
        ),
        (
            "upstreams: {docker.io: {url: 'http://x', retries: 1}, quay.io: {}}",
            ("upstreams.docker.io.retries",),
            ("upstreams.docker.io.url",),
        ),
        (
            "upstreams: {docker.io: {credentials: {username: a, password: b}}, quay.io: {}}",
            (),
            ("upstreams.docker.io.credentials",),
        ),
        ("upstreams: {docker.io: {}}", (), ("upstreams.quay.io",)),
        (_BASE.replace("}}", "}, gcr.io: {}}"), (), ("upstreams.gcr.io",)),
        (_BASE + "default_upstream: quay.io", ("default_upstream",), ()),
        (
            "upstreams: {gcr.io: {}, docker.io: {}, quay.io: {}}\ndefault_upstream: gcr.io",
            (),
            ("default_upstream", "upstreams.gcr.io"),
        ),
        (
            _BASE + "warm: {parallel: 3, schedule: [{images: [nginx], every: 5m}]}",
            ("warm.parallel", "warm.schedule"),
            (),
        ),
        (_BASE + "server: {tls: {certificate: a, key: b}}", (), ("server.tls",)),
    ],
)
def test_what_changed_is_named(
    tmp_path: Path, text: str, taken_over: tuple[str, ...], at_restart: tuple[str, ...]
) -> None:
    """Each key that differs is named once, as taken over or as waiting for a restart."""
    found = changes(_load(_BASE, tmp_path), _load(text, tmp_path))
    assert set(found.taken_over) == set(taken_over)
    assert set(found.at_restart) == set(at_restart)


def test_the_rest_stays(tmp_path: Path) -> None:
    """What needs a restart keeps its old value beside what was taken over."""
    old = _load(_BASE, tmp_path)
    new = _load(_BASE + "cache: {max_size: 1GiB, directory: x}\nadmin: {listen: ':9'}", tmp_path)
    taken = changes(old, new).settings
    assert taken.cache.max_size == new.cache.max_size
    assert taken.cache.directory == old.cache.directory
    assert taken.admin == old.admin
    assert not changes(taken, taken).taken_over
