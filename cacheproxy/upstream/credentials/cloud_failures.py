"""The words for failures of the clouds' libraries, none of whose messages may be repeated.

The libraries are optional, so that their exceptions are known by name.
"""

from cacheproxy.inprocess.failures import explain_failure

_NONE_FOUND = "no credentials are found on this machine"
_REFUSED = "the identity is refused, or none is found on this machine"
_UNREACHABLE = "its API cannot be reached"
_WORDS = {
    # botocore
    "NoCredentialsError": _NONE_FOUND,
    "PartialCredentialsError": "the credentials that are found are not complete",
    "CredentialRetrievalError": "the source of the credentials fails",
    "EndpointConnectionError": _UNREACHABLE,
    "HTTPClientError": _UNREACHABLE,
    # azure-identity
    "ClientAuthenticationError": _REFUSED,
    "ServiceRequestError": _UNREACHABLE,
    # google-auth
    "DefaultCredentialsError": _NONE_FOUND,
    "RefreshError": _REFUSED,
    "TransportError": _UNREACHABLE,
}


def explain_cloud_failure(error: BaseException) -> str:
    """Return what went wrong between us and a cloud."""
    names = (kind.__name__ for kind in type(error).__mro__)
    known = (_WORDS[name] for name in names if name in _WORDS)
    return next(known, None) or explain_failure(error).what
