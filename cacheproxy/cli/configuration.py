"""What the commands have in common: the option that names the configuration, and failing."""

import os
from pathlib import Path
from typing import IO, Any

import click

from cacheproxy.settings import CONFIG_VARIABLE, DEFAULT_FILE, Settings, find_file, load

config_option = click.option(
    "--config",
    "named",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"YAML or JSON; otherwise ${CONFIG_VARIABLE}, then {DEFAULT_FILE}, then the defaults.",
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


def load_settings(named: Path | None) -> Settings:
    """Load the settings for a command; `named` is what `--config` says.

    Raises:
        SettingsError: the configuration cannot be used.
    """
    file = find_file(named, os.environ)
    if file is None:
        message = f"cacheproxy: there is no {DEFAULT_FILE} here; using the built-in defaults"
        click.echo(message, err=True)
    return load(file, os.environ)
