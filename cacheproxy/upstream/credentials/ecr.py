"""Amazon ECR and ECR Public: a password for 12 hours, from AWS's API.

Source: GetAuthorizationToken of both APIs. Who we are to AWS is up to botocore's default
chain: the environment, web identity (IRSA), shared files, Pod Identity, the instance.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from cacheproxy.domain.ecr_host import EcrHost
from cacheproxy.ports import Clock
from cacheproxy.upstream.credentials.aside import Aside
from cacheproxy.upstream.credentials.cloud_failures import explain_cloud_failure
from cacheproxy.upstream.credentials.login import Login, NoLoginError
from cacheproxy.upstream.credentials.patience import NotYetError, Patience

_CONNECT, _READ = 3, 5  # seconds
# Of everything: the chain may ask a service or two before it asks ECR.
_SECONDS = 20.0


class Ecr:
    """The password of ECR (`Source`).

    Args:
        host: whom to ask.
        clock: of the time of day, which the password's end is told in.
    """

    def __init__(self, host: EcrHost, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._aside: Aside[Mapping[str, Any]] = Aside("AWS", _SECONDS)
        self._patience = Patience(clock)

    def changed(self) -> bool:
        """Only AWS knows, and it is not asked."""
        return False

    async def fetch(self) -> tuple[Login, float | None]:
        """A new password.

        Raises:
            NoLoginError: AWS does not give one.
        """
        answer = await self._patience.with_(lambda: self._aside.run(self._ask))
        return self._parsed(answer)

    def _ask(self) -> Mapping[str, Any]:
        # Here: an optional dependency, which takes its time to import.
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415
        from botocore.exceptions import ClientError  # noqa: PLC0415

        config = Config(
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"total_max_attempts": 2},
            use_fips_endpoint=self._host.is_fips or None,
        )
        service = "ecr-public" if self._host.is_public else "ecr"
        try:
            # A new session each time: what it is told by the environment's files may be new.
            client = botocore.session.Session().create_client(
                service, region_name=self._host.region, config=config
            )
            try:
                return client.get_authorization_token()  # type: ignore[no-any-return]
            finally:
                client.close()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise NoLoginError(f"AWS answers {code} to {service}:GetAuthorizationToken") from error
        except Exception as error:
            # Whatever it is: the chain runs programs, reads files and asks services.
            raise NotYetError(f"AWS gives no password: {explain_cloud_failure(error)}") from error

    def _parsed(self, answer: Mapping[str, Any]) -> tuple[Login, float | None]:
        found = answer.get("authorizationData")
        grant = (found[0] if found else {}) if isinstance(found, list) else (found or {})
        try:
            pair = base64.b64decode(grant["authorizationToken"], validate=True).decode()
            seconds = grant["expiresAt"].timestamp() - self._clock.now()
        except (KeyError, AttributeError, binascii.Error, ValueError):
            raise NoLoginError("AWS's answer holds no password") from None
        username, _, password = pair.partition(":")
        if not username or not password:
            raise NoLoginError("AWS's answer holds no password")
        return Login(username, password), max(seconds, 0.0)
