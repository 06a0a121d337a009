"""`cacheproxy check`: is the configuration right, and what does it come to?"""

import json
from pathlib import Path

import click

from cacheproxy.cli import words
from cacheproxy.cli.configuration import ConfigurationFailure, config_option, load_settings
from cacheproxy.domain.errors import CacheproxyError
from cacheproxy.settings import Settings, SettingsError, effective, effective_values


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, problems included.")
def check(named: Path | None, as_json: bool) -> None:
    """Check the configuration; print it with all defaults filled in and secrets hidden.

    What is printed is itself a configuration. Problems go to standard error, one on a line
    (FILE:LINE:COLUMN: KEY: MESSAGE), all at once. Files that hold secrets are read. Where there
    is a cache already, what `cache.pins` names in it must fit into its `max_size`. That
    certificates and directories are there is looked at by `serve`, as it starts.

    \b
    Examples:
      cacheproxy check --config /etc/cacheproxy.yaml
      cacheproxy check --json | jq .settings.upstreams
      cacheproxy check --json | jq -r '.problems[]?.message'

    \b
    Exit codes:
      0  the configuration is right
      2  it is not, or the command line is wrong
    """  # noqa: D301 - click looks for the control character
    try:
        settings = load_settings(named)
    except SettingsError as error:
        if as_json:
            click.echo(_json({"ok": False, "problems": _problems(error)}))
            click.get_current_context().exit(2)
        raise ConfigurationFailure(str(error)) from None
    too_much = _pinned_too_much(settings)
    if too_much:
        if as_json:
            problems = [{"path": path, "message": message} for path, message in too_much]
            click.echo(_json({"ok": False, "problems": problems}))
            click.get_current_context().exit(2)
        raise ConfigurationFailure("\n".join(f"{path}: {said}" for path, said in too_much))
    if as_json:
        click.echo(_json({"ok": True, "settings": effective_values(settings)}))
    else:
        click.echo(effective(settings), nl=False)


def _pinned_too_much(settings: Settings) -> list[tuple[str, str]]:
    """Keys that bound the cache to less than what is pinned in it, with what to do."""
    if not settings.cache.pins:
        return []
    # Here, because it imports the server, for which most checks need not wait.
    from cacheproxy.bootstrap.offline import is_made, open_cache  # noqa: PLC0415
    from cacheproxy.bootstrap.pinning import overdrafts  # noqa: PLC0415

    if not is_made(settings):
        return []
    try:
        with open_cache(settings, with_metadata=False) as cache:
            return [
                (
                    path,
                    f"allows {words.size(allowed)}, and what cache.pins names takes "
                    f"{words.size(pinned)}; pin less, or allow more",
                )
                for path, pinned, allowed in overdrafts(cache)
            ]
    except CacheproxyError:
        return []  # it cannot be looked into: `serve` says why


def _problems(error: SettingsError) -> list[dict[str, str | int | None]]:
    return [
        {
            "file": None if problem.path.startswith("$") or not error.file else str(error.file),
            "line": problem.line,
            "column": problem.column,
            "path": problem.path,
            "message": problem.message,
        }
        for problem in error.problems
    ]


def _json(value: object) -> str:
    return json.dumps(value, indent=2)
