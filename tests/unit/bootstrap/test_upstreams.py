from dataclasses import replace

from yarl import URL

from cacheproxy.bootstrap.upstreams import make_config
from cacheproxy.settings import load


def test_every_deadline_of_an_upstream_is_its_clients() -> None:
    """Timeouts and limits of the settings reach the client, none in another one's place."""
    settings = replace(
        load(None, {}).upstreams["quay.io"],
        connect_timeout=1.5,
        answer_timeout=2.5,
        idle_timeout=3.5,
        max_connections=4,
    )
    config = make_config(settings)
    assert (config.registry, config.url) == ("quay.io", URL("https://quay.io"))
    assert (config.connect_timeout, config.answer_timeout) == (1.5, 2.5)
    assert (config.idle_timeout, config.max_connections) == (3.5, 4)


def test_an_answer_may_not_take_as_long_as_its_request() -> None:
    """By default upstream is given up in time for what is cached to stand in."""
    settings = load(None, {})
    for upstream in settings.upstreams.values():
        assert 2 * upstream.answer_timeout < settings.server.response_timeout
