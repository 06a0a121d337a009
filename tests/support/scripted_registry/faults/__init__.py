"""What can go wrong with an upstream, as values that a test puts into a script."""

from tests.support.scripted_registry.faults.bodies import (
    GzipEncoded,
    LongBody,
    NoContentLength,
    ShortBody,
    WrongBytes,
    WrongContentLength,
)
from tests.support.scripted_registry.faults.cuts import CloseAfter, Garbage, HangUp, ResetAfter
from tests.support.scripted_registry.faults.fault import Always, Fault, Together, Well
from tests.support.scripted_registry.faults.heads import (
    IgnoreRange,
    NoDigestHeader,
    OneMoreHeader,
    WithHeader,
    WrongContentRange,
    WrongContentType,
    WrongDigestHeader,
)
from tests.support.scripted_registry.faults.redirects import Redirect, SignedUrlExpired
from tests.support.scripted_registry.faults.statuses import (
    BigErrorBody,
    StatusFault,
    rate_limited,
)
from tests.support.scripted_registry.faults.waits import (
    Gate,
    NoAnswer,
    SlowHeaders,
    StallAfter,
    Trickle,
)

__all__ = [
    "Always",
    "BigErrorBody",
    "CloseAfter",
    "Fault",
    "Garbage",
    "Gate",
    "GzipEncoded",
    "HangUp",
    "IgnoreRange",
    "LongBody",
    "NoAnswer",
    "NoContentLength",
    "NoDigestHeader",
    "OneMoreHeader",
    "Redirect",
    "ResetAfter",
    "ShortBody",
    "SignedUrlExpired",
    "SlowHeaders",
    "StallAfter",
    "StatusFault",
    "Together",
    "Trickle",
    "Well",
    "WithHeader",
    "WrongBytes",
    "WrongContentLength",
    "WrongContentRange",
    "WrongContentType",
    "WrongDigestHeader",
    "rate_limited",
]
