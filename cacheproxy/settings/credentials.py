"""What credentials need beyond their keys: those of their provider, and no other one's."""

from urllib.parse import urlsplit

from cacheproxy.domain.ecr_host import EcrHost
from cacheproxy.settings.draft import Draft, Location, Scalar, Tree
from cacheproxy.settings.schema import Key, keys_of
from cacheproxy.settings.upstream_model import CredentialsSettings

_DEFAULT = "password"
_REQUIRED = {
    "username": "is missing; write it beside the others, or remove the section",
    "password": "is missing; write password or password_file",
    "command": 'is missing; write a list, such as ["/usr/local/bin/registry-login", "--json"]',
}


def check_credentials(draft: Draft, upstream: str, url: Tree) -> None:
    """Report what is missing in each of an upstream's credentials, and what is not theirs."""
    here = ("upstreams", upstream, "credentials")
    written = draft.at(*here)
    if isinstance(written, list):
        if not written:
            draft.report(here, "is an empty list; write at least one, or remove the key")
        locations: list[Location] = [(*here, index) for index in range(len(written))]
    else:
        locations = [here]
    for location in locations:
        section = draft.section(*location)
        if section is not None:
            _check_one(draft, location, section, (url, Scalar(upstream)))


def applying(provider: str) -> dict[str, Key]:
    """The keys of credentials that are of use with a provider."""
    keys = keys_of(CredentialsSettings).items()
    return {name: key for name, key in keys if not key.only or provider in key.only}


def _check_one(
    draft: Draft, location: Location, section: dict[str, Tree], hosts: tuple[Tree, ...]
) -> None:
    written = section.get("provider", Scalar(_DEFAULT))
    provider = written.text if isinstance(written, Scalar) else ""
    known = keys_of(CredentialsSettings)
    own = applying(provider)
    if not any(key.only and provider in key.only for key in known.values()):
        return  # no provider of ours: said when it is read
    foreign = known.keys() - own
    for name in [name for name in section if {name, name.removesuffix("_file")} & foreign]:
        others = ", ".join(key for key in own if key != "provider")
        message = f"is no key of provider {provider}, whose keys are {others}"
        draft.report((*location, name), message, at_key=True)
        del section[name]
    for name in own:
        missing = _REQUIRED.get(name)
        if missing and not {name, f"{name}_file"} & section.keys():
            draft.report((*location, name), missing)
    if provider == "ecr" and "region" not in section:
        _check_region(draft, location, hosts)


def _check_region(draft: Draft, location: Location, hosts: tuple[Tree, ...]) -> None:
    names = [host.text for host in hosts if isinstance(host, Scalar)]
    if not any(
        EcrHost.of(urlsplit(f"//{name.rpartition('//')[2]}").hostname or "") for name in names
    ):
        message = "is missing, and the registry's host names none; write one such as eu-west-1"
        draft.report((*location, "region"), message)
