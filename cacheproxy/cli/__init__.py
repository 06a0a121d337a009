"""The command line: one module for each command, put together here."""

import click

from cacheproxy import __version__
from cacheproxy.cli.check import check
from cacheproxy.cli.client_config import client_config
from cacheproxy.cli.doctor import doctor
from cacheproxy.cli.explain import explain
from cacheproxy.cli.plan import plan
from cacheproxy.cli.purge import purge
from cacheproxy.cli.scrub import scrub
from cacheproxy.cli.serve import serve
from cacheproxy.cli.stats import stats
from cacheproxy.cli.warm import warm


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="cacheproxy", message="%(prog)s %(version)s")
def commands() -> None:
    """A pull-through caching proxy for container registries.

    It stands in front of the registries that it is configured for; each blob crosses the link
    to them once, however many nodes pull it.

    \b
    Examples:
      cacheproxy check                              what would be served, and how
      cacheproxy doctor                             what is wrong, and what to do
      cacheproxy serve                              serve with config/cacheproxy.yaml
      cacheproxy serve --config /etc/cacheproxy.yaml
      cacheproxy stats                              what was saved, and what goes on
      cacheproxy client-config containerd           what to write on the nodes
      cacheproxy explain nginx:1.25                 what is cached of an image
      cacheproxy scrub                              is what is cached still right?
      cacheproxy plan                               what would a larger cache save?
      cacheproxy warm nginx:1.27                    have it cached before nodes ask
      CACHEPROXY__CACHE__MAX_SIZE=200GiB cacheproxy serve

    \b
    The configuration is looked for in this order:
      --config FILE, $CACHEPROXY_CONFIG, config/cacheproxy.yaml, the built-in defaults.
    Each of its keys can also be set by a variable: CACHEPROXY__SECTION__KEY=value.

    \b
    Exit codes:
      0  fine
      1  failed at run time (the port is in use, the directory is read-only, ...)
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character


commands.add_command(check)
commands.add_command(client_config)
commands.add_command(doctor)
commands.add_command(explain)
commands.add_command(plan)
commands.add_command(purge)
commands.add_command(scrub)
commands.add_command(serve)
commands.add_command(stats)
commands.add_command(warm)


def main() -> None:
    """Run the command that the process was started with; exits, never returns."""
    commands(prog_name="cacheproxy")
