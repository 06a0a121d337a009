"""The keys that say how an upstream is treated when it fails, limits us, or has mirrors."""

from collections.abc import Callable

import pytest

from cacheproxy.bootstrap.upstreams import make_config, make_registries
from cacheproxy.domain.breaker import BreakerPolicy
from cacheproxy.domain.freshness import TagPolicy
from cacheproxy.settings import Settings

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


def _upstream(text: str) -> str:
    return f"upstreams:\n  quay.io:\n    {text}\n"


_KEYS = "its keys are fresh_for, stale_while_revalidate, stale_if_error, stale_if_denied, "


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("tags: {rules: {'[v': {}}}", "tags.rules.[v", "'[v' matches no tag; write TAG or"),
        ("tags: {rules: {'team/*': {}}}", "tags.rules.team/*", "'team/*' matches no tag"),
        ("tags: {rules: {'A/b:1': {}}}", "tags.rules.A/b:1", "'A/b' matches no repository"),
        ("tags: {rules: {'a:b:1': {}}}", "tags.rules.a:b:1", "'a:b' matches no repository"),
        ("tags: {rules: {'': {}}}", "tags.rules.''", "is empty"),
        ("tags: {rules: {latest: 5m}}", "tags.rules.latest", f"must be a section; {_KEYS}"),
        ("tags: {rules: {latest: }}", "tags.rules.latest", f"must be a section; {_KEYS}"),
        ("tags: {rules: [latest]}", "tags.rules", "must be a section"),
        (
            "tags: {rules: {v1: {freshfor: 1s}}}",
            "tags.rules.v1.freshfor",
            "unknown key; did you mean fresh_for?",
        ),
        (
            "tags: {rules: {v1: {pattern: x}}}",
            "tags.rules.v1.pattern",
            "unknown key; a rule's pattern is the key that it stands under",
        ),
        ("tags: {rules: {v1: {patience: 0s}}}", "tags.rules.v1.patience", "longer than 0s"),
        ("tags: {patience: 0s}", "tags.patience", "must be longer than 0s"),
        ("offline: maybe", "offline", "'maybe' is not true, false or auto"),
        ("breaker: {failures: 0}", "breaker.failures", "0 is not within 1 and 1000"),
        ("breaker: {pause: 0s}", "breaker.pause", "must be longer than 0s"),
        ("breaker: 5", "breaker", "its keys are failures, pause, longest_pause"),
        ("mirrors: [mirror.gcr.io]", "mirrors[0]", "must begin with https:// or http://"),
        ("mirrors: ['https://u:p@m.io']", "mirrors[0]", "must not contain a user or password"),
        ("ratelimit_reserve: -1", "ratelimit_reserve", "-1 is not within 0 and 1000000"),
        ("max_bandwidth: 0", "max_bandwidth", "must be at least one byte"),
        ("price_per_gb: -1", "price_per_gb", "'-1' is not a decimal number, such as 0.09"),
        ("price_per_gb: '1'", "price_per_gb", "must be a number, without quotes: '1'"),
        ("max_bandwidth: 10%", "max_bandwidth", "'10%' is not a size"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(
    problems: Problems, text: str, at: str, says: str
) -> None:
    """Each of these is refused with one line that names its key and says what to write."""
    (line,) = problems(_upstream(text))
    assert f" upstreams.quay.io.{at}" in line
    assert says in line


def test_what_is_written_reaches_the_client(load_text: Load) -> None:
    """Every key is in the configuration that the client is made of; bandwidth by worker."""
    text = _upstream(
        "{mirrors: ['https://a.test', 'http://b.test:5000'], offline: auto, max_bandwidth: 8MiB,"
        " ratelimit_reserve: 3, breaker: {failures: 2, pause: 3s, longest_pause: 4s},"
        " tags: {patience: 2s}}"
    )
    config = make_config(load_text(text).upstreams["quay.io"], workers=4)
    assert [str(mirror) for mirror in config.mirrors] == ["https://a.test", "http://b.test:5000"]
    assert config.breaker == BreakerPolicy(failures=2, pause=3, longest_pause=4)
    assert (config.ratelimit_reserve, config.patience) == (3, 2.0)
    assert config.max_bandwidth == 2 * 1024 * 1024
    assert not config.offline


def test_a_rule_is_the_default_but_for_what_it_says(load_text: Load) -> None:
    """Rules keep their order, and what they leave out is as for all tags."""
    text = _upstream(
        "tags: {fresh_for: 7s, patience: 2s, rules: {'app/*:latest': {fresh_for: 0s},"
        " latest: {on_not_found: drop, patience: 1s}, '*': {stale_if_error: 1h}}}"
    )
    settings = load_text(text)
    rules = make_registries(settings, dict.fromkeys(settings.upstreams))["quay.io"].tags  # type: ignore[arg-type]
    assert rules.of("app/a", "latest") == TagPolicy(fresh_for=0, patience=2)
    assert rules.of("b", "latest") == TagPolicy(fresh_for=7, patience=1, on_not_found="drop")
    assert rules.of("b", "v1") == TagPolicy(fresh_for=7, patience=2, stale_if_error=3600)


@pytest.mark.parametrize(
    ("written", "always", "ageless"),
    [("true", True, False), ("auto", False, True), ("false", False, False)],
)
def test_offline(load_text: Load, written: str, always: bool, ageless: bool) -> None:
    """`true` asks nobody; `auto` asks, and takes nothing for too old where nobody answers."""
    settings = load_text(_upstream(f"offline: {written}"))
    config = make_config(settings.upstreams["quay.io"])
    registries = make_registries(settings, dict.fromkeys(settings.upstreams))  # type: ignore[arg-type]
    assert config.offline is always
    assert registries["quay.io"].tags.default.is_patient_offline is ageless
