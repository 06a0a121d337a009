"""What the commands have in common: the option that names the configuration, and failing."""

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cacheproxy.settings import Settings

config_option = click.option(
    "--config",
    "named",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML or JSON; otherwise $CACHEPROXY_CONFIG, then config/cacheproxy.yaml, then the "
    "defaults.",
)


class RunFailure(click.ClickException):
    """Ends the command with a message on standard error, no stack trace."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message as it is; click calls this, and would put `Error:` before it."""
        click.echo(self.message, file=file, err=file is None)


class ConfigurationFailure(RunFailure):
    """The same for what is wrong with the configuration."""

    exit_code = 2


def load_settings(named: Path | None) -> "Settings":
    """Load the settings for a command; `named` is what `--config` says.

    Raises:
        SettingsError: the configuration cannot be used.
    """
    # Slow to import, which `--help` need not wait for.
    from cacheproxy.settings import DEFAULT_FILE, find_file, load  # noqa: PLC0415

    file = find_file(named, os.environ)
    if file is None:
        message = f"cacheproxy: there is no {DEFAULT_FILE} here; using the built-in defaults"
        click.echo(message, err=True)
    return load(file, os.environ)
