import pickle
from dataclasses import asdict

from cacheproxy.settings import CredentialsSettings, Secret, UpstreamSettings


def test_a_secret_is_shown_only_when_asked_for() -> None:
    """No way of printing a secret shows it; revealing does."""
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {[secret]} {(secret,)}"
    assert "hunter2" not in shown
    assert str(secret) == "***"
    assert secret.reveal() == "hunter2"


def test_settings_do_not_show_their_secrets() -> None:
    """Printing an upstream's settings shows neither its password nor its proxy's."""
    upstream = UpstreamSettings(
        "quay.io",
        "https://quay.io",
        credentials=CredentialsSettings("me", Secret("hunter2")),
        proxy_url="http://me:hunter3@proxy",
    )
    assert "hunter" not in repr(upstream)
    assert "hunter2" not in str(asdict(upstream))


def test_secrets_compare_and_travel_to_workers() -> None:
    """Two secrets are equal when their texts are, also after a trip to another process."""
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")
    assert Secret("a") != Secret("b")
