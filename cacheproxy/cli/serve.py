"""`cacheproxy serve`: run the proxy in the foreground."""

import os
from pathlib import Path

import click

from cacheproxy.cli.configuration import (
    ConfigurationFailure,
    RunFailure,
    config_option,
    load_settings,
)
from cacheproxy.inprocess.hangups import Hangups


@click.command()
@config_option
def serve(named: Path | None) -> None:
    """Serve pulls until SIGTERM or SIGINT.

    A changed configuration file, and changed certificates, are taken over within seconds, as
    far as that is possible without a restart; SIGHUP has the file read now.

    \b
    Examples:
      cacheproxy serve
      cacheproxy serve --config /etc/cacheproxy.yaml
      CACHEPROXY__SERVER__LISTEN=:8080 cacheproxy serve

    \b
    Then, with the server's port at 5000 on this host:
      docker pull localhost:5000/docker.io/library/alpine
      curl http://localhost:5001/healthz

    \b
    Exit codes:
      0  stopped as asked
      1  could not start, or failed while it served
      2  the command line or the configuration is wrong
    """  # noqa: D301 - click looks for the control character
    hangups = Hangups()
    # Here, because it takes a while, in which SIGHUP must not end the process.
    from cacheproxy.bootstrap import running  # noqa: PLC0415
    from cacheproxy.bootstrap.notifying import ServiceManager  # noqa: PLC0415
    from cacheproxy.bootstrap.reloading import Source  # noqa: PLC0415
    from cacheproxy.domain.errors import StartError  # noqa: PLC0415
    from cacheproxy.settings import SettingsError, find_file  # noqa: PLC0415

    try:
        settings = load_settings(named)
        source = Source(lambda: load_settings(named), find_file(named, os.environ), hangups)
        manager = ServiceManager(os.environ.get("NOTIFY_SOCKET", ""))
        running.serve(settings, source, manager)
    except SettingsError as error:
        raise ConfigurationFailure(str(error)) from None
    except StartError as error:
        raise RunFailure(f"cacheproxy: {error}") from None
