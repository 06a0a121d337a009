"""What the upstreams' section needs beyond its keys: well-known registries, unique names."""

from dataclasses import replace

from cacheproxy.settings.addresses import parse_registry
from cacheproxy.settings.credentials import check_credentials
from cacheproxy.settings.draft import Draft, Location, Scalar, Tree
from cacheproxy.settings.model import Settings
from cacheproxy.settings.problems import quoted
from cacheproxy.settings.upstream_model import UpstreamSettings
from cacheproxy.settings.well_known import (
    DEFAULT_UPSTREAM,
    DEFAULT_UPSTREAMS,
    WELL_KNOWN,
    well_known,
)

# Stands in for a name that is refused, so that what is below it is checked all the same.
_NO_NAME = "unnamed.invalid"


def canonical_names(draft: Draft) -> None:
    """Write each upstream's name as it is compared; without any, take the default ones."""
    draft.tree.setdefault("upstreams", dict.fromkeys(DEFAULT_UPSTREAMS))
    upstreams = draft.section("upstreams")
    for written in list(upstreams or ()):
        _rename(draft, upstreams or {}, written)


def complete(draft: Draft) -> None:
    """Fill in what is known of each upstream, and check what is between them."""
    upstreams = draft.section("upstreams")
    if not upstreams:
        if draft.tree["upstreams"] in (None, {}):
            message = "names no upstream; write at least one, or remove the key for the defaults"
            draft.report(("upstreams",), message, at_key=True)
            draft.tree["upstreams"] = {}
        return
    for name, upstream in upstreams.items():
        upstreams[name] = {} if upstream is None else upstream
        _complete_one(draft, name)
    _check_aliases(draft, upstreams)
    _check_default(draft, upstreams)


def with_well_known_aliases(settings: Settings) -> Settings:
    """The settings with each upstream's well-known aliases before those of its own."""
    upstreams = {name: _with_aliases(upstream) for name, upstream in settings.upstreams.items()}
    return replace(settings, upstreams=upstreams)


def _with_aliases(upstream: UpstreamSettings) -> UpstreamSettings:
    aliases = dict.fromkeys((*well_known(upstream.name).aliases, *upstream.aliases))
    aliases.pop(upstream.name, None)
    return replace(upstream, aliases=tuple(aliases))


def _rename(draft: Draft, upstreams: dict[str, Tree], written: str) -> None:
    location = ("upstreams", written)
    try:
        name = parse_registry(written)
    except ValueError as error:
        draft.report(location, str(error), at_key=True)
        return
    if name == written:
        return
    if name in upstreams:
        draft.report(location, f"is the same registry as {name}; remove one", at_key=True)
        del upstreams[written]
        return
    # popping and setting would lose the order, in which problems and pages list upstreams
    entries = [(name if key == written else key, value) for key, value in upstreams.items()]
    upstreams.clear()
    upstreams.update(entries)
    draft.move(location, ("upstreams", name))


def _complete_one(draft: Draft, name: str) -> None:
    upstream = draft.section("upstreams", name)
    if upstream is None:
        return  # not a section: said when it is read
    if "name" in upstream:
        message = "unknown key; an upstream's name is the key that it stands under"
        draft.report(("upstreams", name, "name"), message, at_key=True)
    written = name
    for pattern, rule in (draft.section("upstreams", name, "tags", "rules") or {}).items():
        _complete_rule(draft, name, pattern, rule)
    if ("upstreams", name) in draft.refused:
        name = _NO_NAME
    known = well_known(name)
    upstream["name"] = Scalar(name)
    upstream.setdefault("url", Scalar(known.url))
    if known.official_namespace is not None:
        upstream.setdefault("official_namespace", Scalar(known.official_namespace))
    check_credentials(draft, written, upstream["url"])


def _complete_rule(draft: Draft, name: str, pattern: str, rule: Tree) -> None:
    """A rule's pattern is the key that it stands under."""
    if not isinstance(rule, dict):
        return  # said when it is read
    if "pattern" in rule:
        location = ("upstreams", name, "tags", "rules", pattern, "pattern")
        message = "unknown key; a rule's pattern is the key that it stands under"
        draft.report(location, message, at_key=True)
    rule["pattern"] = Scalar(pattern)


def _check_aliases(draft: Draft, upstreams: dict[str, Tree]) -> None:
    """Report each name that two upstreams claim, where the later claim is written."""
    owners = {name: name for name in upstreams}
    for name in upstreams:
        for alias in well_known(name).aliases:
            if owners.setdefault(alias, name) != name:
                message = f"is an alias of {name} already; remove it"
                draft.report(("upstreams", alias), message, at_key=True)
    for name, upstream in upstreams.items():
        for location, alias in _own_aliases(name, upstream):
            owner = owners.setdefault(alias, name)
            if owner != name:
                draft.report(location, f"{alias} names {owner} already; an alias must be unique")


def _own_aliases(name: str, upstream: Tree) -> list[tuple[Location, str]]:
    aliases = upstream.get("aliases") if isinstance(upstream, dict) else None
    found: list[tuple[Location, str]] = []
    for index, alias in enumerate(aliases if isinstance(aliases, list) else ()):
        try:
            host = parse_registry(alias.text if isinstance(alias, Scalar) else "")
        except ValueError:
            continue  # said when it is read
        found.append((("upstreams", name, "aliases", index), host))
    return found


def _check_default(draft: Draft, upstreams: dict[str, Tree]) -> None:
    if "default_upstream" not in draft.tree:
        has_it = DEFAULT_UPSTREAM in upstreams
        draft.tree["default_upstream"] = Scalar(DEFAULT_UPSTREAM) if has_it else None
    written = draft.tree["default_upstream"]
    if not isinstance(written, Scalar) or not written.text:
        return
    name = written.text.lower()
    draft.tree["default_upstream"] = Scalar(name)
    if name not in upstreams:
        owner = next((known for known, what in WELL_KNOWN.items() if name in what.aliases), None)
        hint = owner if owner in upstreams else f"one of {', '.join(upstreams)}, or null"
        message = f"{quoted(written.text)} is not among the upstreams; write {hint}"
        draft.report(("default_upstream",), message)
