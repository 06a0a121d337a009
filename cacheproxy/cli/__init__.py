"""The command line: one module for each command, imported when it is called."""

import click

from cacheproxy import __version__
from cacheproxy.cli.lazy_group import LazyGroup

# The first sentence of each command's help.
_SUMMARIES = {
    "check": "Check the configuration; print it with all defaults filled in and secrets hidden.",
    "client-config": "Print the files by which a client pulls through this proxy, or write them.",
    "doctor": "Check what a server needs, and say what to do about each thing that is wrong.",
    "explain": "Say what is cached of an image or blob, since when, and what would go before it.",
    "plan": "Say what a larger or a smaller cache would have had to fetch, with each policy.",
    "purge": "Remove what is cached of these, pinned or not; upstream is not touched.",
    "scrub": "Read every stored blob again, and take out what is not what its digest says.",
    "serve": "Serve pulls until SIGTERM or SIGINT.",
    "stats": "Say what a running server has saved, and how it does.",
    "warm": "Have a running server fetch images, so that nodes find them in its cache.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    summaries=_SUMMARIES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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


def main() -> None:
    """Run the command that the process was started with; exits, never returns."""
    commands(prog_name="cacheproxy")
