"""Load the settings: file, then environment, then secrets' files, checked all at once."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from cacheproxy.domain.redis_url import RedisUrl
from cacheproxy.settings.document import read_document
from cacheproxy.settings.draft import Draft, Location, Scalar, Tree
from cacheproxy.settings.environment import overlay
from cacheproxy.settings.model import MetadataSettings, Settings
from cacheproxy.settings.problems import nearest
from cacheproxy.settings.routes import check_schedule
from cacheproxy.settings.schema import keys_of, section_at, spellings, walk
from cacheproxy.settings.secret_files import read_secret_files
from cacheproxy.settings.upstreams import canonical_names, complete, with_well_known_aliases

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Load the settings.

    Args:
        path: the YAML or JSON file; None for the built-in defaults.
        environ: its `CACHEPROXY__…` variables go over what the file says.

    Returns:
        The settings; secrets' files have been read, no other file has been looked at.

    Raises:
        SettingsError: with every problem that there is.
    """
    draft = Draft(path)
    if path is not None:
        read_document(path, draft)
    canonical_names(draft)
    overlay(draft, environ)
    complete(draft)
    read_secret_files(draft)
    settings = _validated(draft)
    if settings is not None and settings.cluster is not None:
        _check_cluster(draft, settings)
    if settings is not None:
        _check_sentinels(draft, settings.metadata)
        check_schedule(draft, settings)
    if settings is None or draft.problems:
        raise draft.error()
    return with_well_known_aliases(settings)


def _check_cluster(draft: Draft, settings: Settings) -> None:
    """Replicas find each other in a Redis."""
    if isinstance(settings.metadata.url, str):
        message = "needs a Redis that all replicas use; set metadata.url to it"
        draft.report(("cluster",), message, at_key=True)


def _check_sentinels(draft: Draft, settings: MetadataSettings) -> None:
    """What is for Sentinels is of use only where there are some, and a user has a password."""
    username, password = settings.sentinel_username, settings.sentinel_password
    if isinstance(settings.url, RedisUrl) and settings.url.kind == "sentinel":
        if username is not None and password is None:
            message = "is of use with a password only; write sentinel_password beside it"
            draft.report(("metadata", "sentinel_username"), message, at_key=True)
        return
    for name, value in {"sentinel_username": username, "sentinel_password": password}.items():
        if value is not None:
            message = "is for Sentinels, and metadata.url is not redis+sentinel://…; remove it"
            draft.report(("metadata", name), message, at_key=True)


@cache
def _adapter() -> TypeAdapter[Settings]:
    return TypeAdapter(Settings)


def _validated(draft: Draft) -> Settings | None:
    try:
        return _adapter().validate_python(draft.tree)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_input=False):
            _report(draft, error)
    return None


def _report(draft: Draft, error: "ErrorDetails") -> None:
    location = error["loc"]
    match error["type"]:
        case "unexpected_keyword_argument":
            draft.report(location, _unknown(location), at_key=True)
        case "missing":
            draft.report(location, _missing(location))
        case "dataclass_type" | "dict_type":
            draft.report(location, _not_a_section(location))
        case "tuple_type":
            draft.report(location, _not_a_list(draft.at(*location), section_at(location)))
        case _:
            draft.report(location, str(error.get("ctx", {}).get("error", error["msg"])))


def _unknown(location: Location) -> str:
    word = str(location[-1])
    section = section_at(location[:-1])
    near = nearest(word, spellings(section)) if section is not None else None
    if near is None:
        elsewhere = [known for known, _ in walk(Settings) if known[-1] == word]
        near = ".".join(elsewhere[0]) if len(elsewhere) == 1 else None
    return f"unknown key; did you mean {near}?" if near else f"unknown key{_among(section)}"


def _missing(location: Location) -> str:
    name = str(location[-1])
    section = section_at(location[:-1])
    key = keys_of(section).get(name) if section is not None else None
    if key is not None and key.from_file:
        return f"is missing; write {name} or {name}_file"
    return "is missing; write it beside the others, or remove the section"


def _not_a_section(location: Location) -> str:
    return f"must be a section{_among(section_at(location))}"


def _not_a_list(value: Tree, section: type | None) -> str:
    if section is not None:
        return "must be a list of sections, each of which begins with a dash"
    example = f'["{value.text}"]' if isinstance(value, Scalar) and value.text else "[a, b]"
    return f"must be a list, such as {example}"


def _among(section: type | None) -> str:
    return "" if section is None else f"; its keys are {', '.join(keys_of(section))}"
