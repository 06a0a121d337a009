"""A registry in the test's own process, whose faults are values in a script.

It is for tests that need an upstream to misbehave at an exact byte, and to say exactly what was
asked of it. `ScriptedRegistry` is the way in; `tests/contract/test_registries.py` holds it to what
a real registry does.
"""

from tests.support.scripted_registry.auth import Anonymous, Auth, Basic, Bearer
from tests.support.scripted_registry.faults import (
    Always,
    BigErrorBody,
    CloseAfter,
    Fault,
    Garbage,
    Gate,
    GzipEncoded,
    HangUp,
    IgnoreRange,
    LongBody,
    NoAnswer,
    NoContentLength,
    NoDigestHeader,
    OneMoreHeader,
    Redirect,
    ResetAfter,
    ShortBody,
    SignedUrlExpired,
    SlowHeaders,
    StallAfter,
    StatusFault,
    Together,
    Trickle,
    Well,
    WithHeader,
    WrongBytes,
    WrongContentLength,
    WrongContentRange,
    WrongContentType,
    WrongDigestHeader,
    rate_limited,
)
from tests.support.scripted_registry.journal import Recorded
from tests.support.scripted_registry.pull_api import Behaviour
from tests.support.scripted_registry.registry import ScriptedRegistry
from tests.support.scripted_registry.script import Match

__all__ = [
    "Always",
    "Anonymous",
    "Auth",
    "Basic",
    "Bearer",
    "Behaviour",
    "BigErrorBody",
    "CloseAfter",
    "Fault",
    "Garbage",
    "Gate",
    "GzipEncoded",
    "HangUp",
    "IgnoreRange",
    "LongBody",
    "Match",
    "NoAnswer",
    "NoContentLength",
    "NoDigestHeader",
    "OneMoreHeader",
    "Recorded",
    "Redirect",
    "ResetAfter",
    "ScriptedRegistry",
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
