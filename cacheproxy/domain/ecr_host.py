"""Amazon's registries, told by their hosts."""

import re
from dataclasses import dataclass

_PUBLIC = "public.ecr.aws"
# The one region that ECR Public's API is in.
_PUBLIC_REGION = "us-east-1"
# 123456789012.dkr.ecr.eu-west-1.amazonaws.com, -fips, .cn, dual stack (dkr-ecr, on.aws), and
# the isolated partitions.
_PRIVATE = re.compile(
    r"[0-9]{12}\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9_-]{0,40})\."
    r"(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|"
    r"sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)


@dataclass(frozen=True, slots=True)
class EcrHost:
    """Whom to ask for a password.

    Attributes:
        region: of the API.
        is_public: ECR Public, which has an API of its own.
        is_fips: the API's validated endpoint, as the registry's.
    """

    region: str
    is_public: bool = False
    is_fips: bool = False

    @classmethod
    def of(cls, host: str) -> "EcrHost | None":
        """What a registry's host says; None where it is none of Amazon's."""
        if host.lower() == _PUBLIC:
            return cls(_PUBLIC_REGION, is_public=True)
        match = _PRIVATE.fullmatch(host.lower())
        return cls(match["region"], is_fips=bool(match["fips"])) if match else None
