"""A group of commands, each of which is imported when it is called."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from typing_extensions import override


class LazyGroup(click.Group):
    """A group that knows the names of its commands, and imports the one that is called.

    The command `client-config` is the object `client_config` of the module of that name in
    `package`.

    Attributes:
        package: holds the modules.
        summaries: a line for `--help` by the name of each command.
    """

    def __init__(self, *, package: str, summaries: Mapping[str, str], **options: Any) -> None:  # noqa: ANN401  # of click.Group
        super().__init__(**options)
        self.package = package
        self.summaries = summaries

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted(self.summaries)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of that name."""
        if cmd_name not in self.summaries:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{self.package}.{name}"), name)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self.summaries.items()))
