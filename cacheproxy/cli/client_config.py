"""`cacheproxy client-config`: the files by which a client pulls through this proxy."""

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import click

from cacheproxy.cli.configuration import (
    ConfigurationFailure,
    RunFailure,
    config_option,
    load_settings,
)
from cacheproxy.cli.placing import Refusal, place, planned
from cacheproxy.clients import CLIENTS
from cacheproxy.clients.setup import Served, Setup, Wish
from cacheproxy.settings import Settings, SettingsError
from cacheproxy.settings.addresses import Address, parse_origin

_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - what is recognised, not what is bound
_THIS_MACHINE = ("localhost", "::1")


def _server(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else parse_origin(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _authority(_: click.Context, __: click.Parameter, file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
        ssl.create_default_context(cadata=text)
    except (ValueError, ssl.SSLError):
        raise click.BadParameter(f"{file} has no certificate in PEM.") from None
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}.") from None
    if "PRIVATE KEY" in text:
        raise click.BadParameter(f"{file} has a private key in it, which clients must not get.")
    return text


@click.command("client-config")
@click.argument("client", type=click.Choice(list(CLIENTS)))
@config_option
@click.option(
    "--server",
    metavar="URL",
    callback=_server,
    help="http(s)://HOST:PORT, as clients reach the proxy; otherwise guessed from server.listen.",
)
@click.option(
    "--ca",
    "authority",
    metavar="FILE",
    type=click.Path(path_type=Path),
    callback=_authority,
    help="PEM of the authority of the proxy's certificate, where clients do not know it already.",
)
@click.option(
    "--no-fallback", is_flag=True, help="Nothing is pulled past the proxy, where that can be said."
)
@click.option(
    "--per-registry", is_flag=True, help="For containerd and k3s: an entry for each registry."
)
@click.option(
    "--write",
    "root",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Write the files below DIR, which stands for the client's root: / is this machine's.",
)
@click.option("--force", is_flag=True, help="Replace files that are different; each leaves a .bak.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def client_config(client: str, named: Path | None, **options: Any) -> None:  # noqa: ANN401 - click's
    """Print the files by which a client pulls through this proxy, or write them.

    The registries are those of the configuration, with their aliases. Files go to standard
    output, what to do with them to standard error. The registry itself stays the last to be
    asked, as is the clients' default: with --no-fallback it is not.

    A file that is there and different is left, and then nothing is written at all, without
    --force. Docker's daemon.json is an exception: what is needed is added to it, what it says
    stays, and what it was is in daemon.json.bak.

    \b
    Examples:
      cacheproxy client-config containerd --server http://cache.example.com:5000
      cacheproxy client-config docker --server https://cache.example.com:5000 --ca ca.pem
      sudo cacheproxy client-config podman --server http://cache.example.com:5000 --write /
      cacheproxy client-config k3s --json | jq -r '.files[0].content'

    \b
    Exit codes:
      0  printed, or written
      1  a file is there and is different, or could not be written
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    try:
        settings = load_settings(named)
    except SettingsError as error:
        raise ConfigurationFailure(str(error)) from None
    url, hints = _url(settings, options["server"])
    wish = _wish(settings, url, options)
    setup = CLIENTS[client](wish)
    hints += [*_about_tls(settings, wish), *setup.warnings]
    if options["root"] is not None:
        _write(setup, options["root"], options["force"], hints, options["as_json"])
    elif options["as_json"]:
        click.echo(_json(setup, url, hints))
    else:
        _print(setup, hints)


def _wish(settings: Settings, url: str, options: dict[str, Any]) -> Wish:
    return Wish(
        url=url,
        served=tuple(Served(name, each.aliases) for name, each in settings.upstreams.items()),
        default=settings.default_upstream,
        authority=options["authority"],
        falls_back=not options["no_fallback"],
        is_for_each=options["per_registry"],
    )


def _url(settings: Settings, server: str | None) -> tuple[str, list[str]]:
    """Where the proxy is, and what may be wrong with that."""
    if server is not None:
        return server, []
    listen, scheme = settings.server.listen, "https" if settings.server.tls else "http"
    if listen.port == 0:
        raise click.UsageError("server.listen has no fixed port; give --server http://HOST:PORT.")
    if listen.host in _EVERYWHERE:
        url = f"{scheme}://{Address(socket.gethostname().lower(), listen.port)}"
        return url, [
            f"server.listen is {listen}, which is every interface: {url} is a guess, by this "
            "machine's name; give --server if clients know it by another."
        ]
    url = f"{scheme}://{listen}"
    if listen.host in _THIS_MACHINE or listen.host.startswith("127."):
        return url, [f"server.listen is {listen}: only clients on this machine reach it there."]
    return url, []


def _about_tls(settings: Settings, wish: Wish) -> list[str]:
    has_tls = settings.server.tls is not None
    hints = []
    if wish.is_plain and has_tls:
        hints.append("The configuration has server.tls, so the proxy speaks HTTPS only.")
    if not wish.is_plain and not has_tls:
        hints.append(
            "The configuration has no server.tls: something else must speak HTTPS for the proxy."
        )
    if wish.is_plain and wish.authority is not None:
        hints.append("--ca is of no use with http://.")
    if not wish.is_plain and wish.authority is None:
        hints.append(
            "Clients must trust the proxy's certificate; give --ca unless they do already."
        )
    if settings.server.tls is not None and settings.server.tls.client_ca is not None:
        hints.append(
            "server.tls.client_ca is set: each client must show a certificate of its own, which "
            "these files do not have."
        )
    return hints


def _print(setup: Setup, hints: list[str]) -> None:
    for number, file in enumerate(setup.files):
        click.echo(("\n" if number else "") + f"==> {file.path} <==")
        click.echo(file.content, nl=False)
    _say(hints, setup.steps)


def _say(hints: list[str], steps: tuple[str, ...]) -> None:
    click.echo(err=True)
    for hint in hints:
        click.echo(f"Note: {hint}", err=True)
    for step in steps:
        click.echo(f"- {step}", err=True)


def _json(setup: Setup, url: str, hints: list[str]) -> str:
    return json.dumps(
        {
            "server": url,
            "files": [{"path": file.path, "content": file.content} for file in setup.files],
            "notes": hints,
            "steps": list(setup.steps),
        },
        indent=2,
    )


def _write(setup: Setup, root: Path, force: bool, hints: list[str], as_json: bool) -> None:
    try:
        written = place(planned(setup.files, root, is_forced=force))
    except Refusal as refusal:
        raise RunFailure("\n".join(f"cacheproxy: {line}" for line in refusal.lines)) from None
    if as_json:
        files = [{"path": str(w.path), "done": w.done, "kept": w.kept} for w in written]
        click.echo(json.dumps({"files": files, "notes": hints, "steps": setup.steps}, indent=2))
        return
    for each in written:
        kept = f"; what it was is in {each.kept}" if each.kept else ""
        click.echo(f"{each.path}: {each.done}{kept}")
    _say(hints, setup.steps)
