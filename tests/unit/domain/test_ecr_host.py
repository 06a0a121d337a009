import pytest

from cacheproxy.domain.ecr_host import EcrHost

_ID = "123456789012"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (f"{_ID}.dkr.ecr.eu-west-1.amazonaws.com", EcrHost("eu-west-1")),
        (f"{_ID}.DKR.ECR.us-gov-west-1.amazonaws.com", EcrHost("us-gov-west-1")),
        (f"{_ID}.dkr.ecr-fips.us-east-1.amazonaws.com", EcrHost("us-east-1", is_fips=True)),
        (f"{_ID}.dkr.ecr.cn-north-1.amazonaws.com.cn", EcrHost("cn-north-1")),
        (f"{_ID}.dkr.ecr.eusc-de-east-1.amazonaws.eu", EcrHost("eusc-de-east-1")),
        (f"{_ID}.dkr-ecr.ap-south-1.on.aws", EcrHost("ap-south-1")),
        (f"{_ID}.dkr-ecr-fips.us-west-2.on.aws", EcrHost("us-west-2", is_fips=True)),
        (f"{_ID}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", EcrHost("cn-north-1")),
        ("public.ecr.aws", EcrHost("us-east-1", is_public=True)),
        (f"{_ID}.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
        (f"evil-{_ID}.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", None),
        (f"{_ID}.dkr.ecr.eu-west-1.example.com", None),
        ("x.public.ecr.aws", None),
        ("quay.io", None),
        ("", None),
    ],
)
def test_a_host_says_whom_to_ask(host: str, expected: EcrHost | None) -> None:
    """Amazon's hosts say their region, in each of their forms; no other host does."""
    assert EcrHost.of(host) == expected
