"""Kinds of values that keys have, and marks on keys, for the model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

from cacheproxy.settings import reading
from cacheproxy.settings.addresses import (
    Address,
    parse_host,
    parse_registry,
)
from cacheproxy.settings.durations import (
    format_duration,
    parse_duration,
    parse_positive_duration,
)
from cacheproxy.settings.sizes import Size, parse_size


@dataclass(frozen=True, slots=True)
class Shown:
    """How a value is written in the effective configuration, where `str()` is not it."""

    form: Callable[[Any], str]


class FromFile:
    """The value may be a secret: `KEY_file` names a file that holds it."""


@dataclass(frozen=True, slots=True)
class Only:
    """The key is of some providers of credentials only."""

    providers: tuple[str, ...]


class FromKey:
    """The value is the key of the mapping that the section is in, not one of its own keys."""


# A section that is written without any key has all its defaults.
SECTION = BeforeValidator(lambda value: {} if value is None else value)

Text = Annotated[str, PlainValidator(reading.text)]
FilePath = Annotated[Path, PlainValidator(reading.path)]
ListenAddress = Annotated[Address, PlainValidator(reading.parsed(Address.parse))]
Duration = Annotated[float, PlainValidator(reading.parsed(parse_duration)), Shown(format_duration)]
Timeout = Annotated[
    float, PlainValidator(reading.parsed(parse_positive_duration)), Shown(format_duration)
]
SizeOrShare = Annotated[Size, PlainValidator(reading.parsed(parse_size))]
RegistryName = Annotated[str, PlainValidator(reading.parsed(parse_registry))]
HostName = Annotated[str, PlainValidator(reading.parsed(parse_host))]
ReferencePattern = Annotated[str, PlainValidator(reading.reference_pattern)]
TagPattern = Annotated[str, PlainValidator(reading.tag_pattern)]
ImageName = Annotated[str, PlainValidator(reading.image)]
PlatformName = Annotated[str, PlainValidator(reading.platform)]
NamePattern = Annotated[str, PlainValidator(reading.pattern)]
