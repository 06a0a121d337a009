"""What the commands that work on the cache directory itself have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cacheproxy.cli.configuration import ConfigurationFailure, RunFailure, load_settings
from cacheproxy.domain.errors import CacheproxyError, RequestError
from cacheproxy.settings import SettingsError

if TYPE_CHECKING:
    from cacheproxy.bootstrap.offline import Cache


@contextmanager
def opened_cache(named: Path | None, *, with_metadata: bool = True) -> Iterator["Cache"]:
    """The cache that a command works on; whatever goes wrong ends it with a sentence.

    Args:
        named: what `--config` says.
        with_metadata: whether it needs the metadata, too.
    """
    try:
        settings = load_settings(named)
    except SettingsError as error:
        raise ConfigurationFailure(str(error)) from None
    # Here, because it imports the server, which `check` and `--help` need not wait for.
    from cacheproxy.bootstrap.offline import open_cache  # noqa: PLC0415

    try:
        with open_cache(settings, with_metadata=with_metadata) as cache:
            yield cache
    except RequestError as error:
        raise click.UsageError(f"{error}.") from None
    except CacheproxyError as error:
        raise RunFailure(f"cacheproxy: {error}") from None
