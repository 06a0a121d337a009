"""The settings written down again: every default filled in, every secret hidden."""

from collections.abc import Mapping

import yaml

from cacheproxy.settings.model import Settings
from cacheproxy.settings.schema import Key, keys_of
from cacheproxy.settings.upstream_model import CredentialsSettings

Plain = None | bool | int | str | list["Plain"] | dict[str, "Plain"]


def effective(settings: Settings) -> str:
    """The settings as YAML. Loaded again they are equal, if there are no secrets in them."""
    return yaml.safe_dump(
        effective_values(settings), sort_keys=False, allow_unicode=True, default_flow_style=False
    )


def effective_values(settings: Settings) -> dict[str, Plain]:
    """The settings as mappings, lists, texts, numbers, booleans and None, for YAML or JSON."""
    return _section(Settings, settings)


def _section(kind: type, section: object) -> dict[str, Plain]:
    return {
        name: _value(key, getattr(section, name))
        for name, key in keys_of(kind).items()
        if _is_of(key, section)
    }


def _is_of(key: Key, section: object) -> bool:
    """Whether a key means anything there: each provider of credentials has its own."""
    return not isinstance(section, CredentialsSettings) or section.provider in (
        key.only or {section.provider}
    )


def _value(key: Key, value: object) -> Plain:
    match value:
        case None:
            return None
        case Mapping() if key.section is not None:
            section = key.section
            return {str(name): _section(section, inner) for name, inner in value.items()}
        case tuple() if key.section is not None:
            section = key.section
            return [_section(section, inner) for inner in value]
        case tuple():
            return [str(item) for item in value]
        case _ if key.section is not None:
            return _section(key.section, value)
        case _ if key.show is not None:
            return key.show(value)
        case bool() | int():
            return value
        case _:
            return str(value)
