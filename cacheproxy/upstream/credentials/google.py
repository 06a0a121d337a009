"""Google's registries (gcr.io, pkg.dev): an access token, from google-auth.

Who we are to Google is a service account's key, or up to google-auth's default chain: the
environment, gcloud's files, workload identity, the metadata server.
"""

import json
from collections.abc import Mapping
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

from cacheproxy.ports import Clock
from cacheproxy.upstream.credentials.aside import Aside
from cacheproxy.upstream.credentials.cloud_failures import explain_cloud_failure
from cacheproxy.upstream.credentials.files import WatchedFile
from cacheproxy.upstream.credentials.login import Login, NoLoginError
from cacheproxy.upstream.credentials.patience import NotYetError, Patience

_USER = "oauth2accesstoken"
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_REQUEST_SECONDS = 5.0
_SECONDS = 20.0
# What an access token is good for when nothing says so.
_UNSAID = 300.0


class Google:
    """An access token as a password (`Source`).

    Args:
        key_file: of a service account; None for the default chain.
        clock: of the time of day, which a token's end is told in.
    """

    def __init__(self, key_file: Path | None, clock: Clock) -> None:
        self._key = WatchedFile(key_file) if key_file else None
        self._clock = clock
        self._aside: Aside[tuple[str, float | None]] = Aside("Google", _SECONDS)
        self._patience = Patience(clock)

    def changed(self) -> bool:
        """Whether the key's file is another one."""
        return self._key is not None and self._key.changed()

    async def fetch(self) -> tuple[Login, float | None]:
        """A new access token.

        Raises:
            NoLoginError: Google does not give one.
        """
        key = _parsed(await self._key.read()) if self._key else None
        token, ends = await self._patience.with_(lambda: self._aside.run(lambda: _ask(key)))
        seconds = _UNSAID if ends is None else max(ends - self._clock.now(), 0.0)
        return Login(_USER, token), seconds


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        key = json.loads(content)
    except (ValueError, RecursionError):
        raise NoLoginError("the key file is not JSON, or not whole") from None
    if not isinstance(key, dict):
        raise NoLoginError("the key file is not a service account's")
    return key


def _of_key(key: Mapping[str, Any]) -> object:
    from google.oauth2.service_account import Credentials  # noqa: PLC0415  # as below

    make: Any = Credentials.from_service_account_info
    return make(key, scopes=_SCOPES)


def _ask(key: Mapping[str, Any] | None) -> tuple[str, float | None]:
    """An access token, and when it ends, in seconds since the epoch."""
    # Here: an optional dependency, which takes its time to import.
    import google.auth  # noqa: PLC0415
    import google.auth.transport.requests  # noqa: PLC0415
    import requests  # noqa: PLC0415

    try:
        with requests.Session() as session:
            # Its own timeout is two minutes.
            request: Any = partial(
                google.auth.transport.requests.Request(session), timeout=_REQUEST_SECONDS
            )
            credentials: Any
            if key is None:
                credentials, _ = google.auth.default(scopes=_SCOPES, request=request)
            else:
                credentials = _of_key(key)
            credentials.refresh(request)
    except Exception as error:
        # Whatever it is: google-auth raises a KeyError, too, where a server says too little.
        # A key needs no metadata server; who has none may have one in a moment.
        kind = NoLoginError if key is not None else NotYetError
        raise kind(f"Google gives no access token: {explain_cloud_failure(error)}") from error
    if not credentials.token:
        raise NoLoginError("Google gives no access token")
    ends = credentials.expiry  # in UTC, without saying so
    return credentials.token, ends.replace(tzinfo=UTC).timestamp() if ends else None
