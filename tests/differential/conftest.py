"""For the whole suite: proxies that are quick to start."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_authorities() -> Iterator[None]:
    """Nothing here speaks TLS, and to read the system's authorities takes as long as a pull."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield
