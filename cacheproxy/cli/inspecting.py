"""Where commands look into a cache: by the admin API of its server, else into its directory."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import click
import msgspec

from cacheproxy.cli.api import SERVER_VARIABLE, AdminApi, api_options, find_api
from cacheproxy.cli.configuration import ConfigurationFailure, RunFailure, load_settings
from cacheproxy.domain.digest import read_digest
from cacheproxy.domain.errors import CacheproxyError, RequestError
from cacheproxy.settings import SettingsError

if TYPE_CHECKING:
    from cacheproxy.ops.api.model import PurgeRequest
    from cacheproxy.ops.api.reports import Explanation, PlanReport, PurgeReport
    from cacheproxy.ops.api.work import (
        PlanRequest,
        PlanStep,
        ScrubRequest,
        ScrubStep,
        ScrubSummary,
    )

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Cache(Protocol):
    """What commands ask of a cache, wherever they look.

    Whatever goes wrong is a `CacheproxyError`, or a `RunFailure`.
    """

    def explain(self, asked: str) -> "Explanation":
        """All that is known of an image or digest."""
        ...

    def purge(self, asked: "PurgeRequest") -> "PurgeReport":
        """Remove what is named."""
        ...

    def plan(self, asked: "PlanRequest", told: "Callable[[PlanStep], None]") -> "PlanReport":
        """What other sizes and policies would have had to fetch."""
        ...

    def scrub(self, asked: "ScrubRequest", told: "Callable[[ScrubStep], None]") -> "ScrubSummary":
        """Read again all that is stored."""
        ...


def inspecting_options(command: F) -> F:
    """The options that say where a command looks: the arguments of `opened`."""
    offline = click.option(
        "--offline",
        is_flag=True,
        help="Look into the cache directory itself, also where a server runs on it.",
    )
    return api_options(offline(command))


@contextmanager
def opened(
    *, named: Path | None, server: str | None, token_file: Path | None, offline: bool
) -> Iterator[Cache]:
    """What a command looks into; whatever goes wrong ends it with a sentence.

    That is the server which is named, else the one that listens where the configuration says;
    and where none does, the directory.

    Args:
        named: what `--config` says.
        server: what `--server` says.
        token_file: what `--token-file` says.
        offline: whether it is to be the directory.
    """
    server = server or os.environ.get(SERVER_VARIABLE) or None
    with _in_sentences():
        if not offline:
            api = find_api(server=server, token_file=token_file, named=named)
            if server is not None or api.is_there():
                yield _Remote(api)
                return
        # Here, because it imports the server, which `check` and `--help` need not wait for.
        from cacheproxy.bootstrap.inspection import Inspection  # noqa: PLC0415

        yield Inspection(load_settings(named))


@contextmanager
def _in_sentences() -> Iterator[None]:
    """Whatever goes wrong with a cache ends the command with a sentence, and the right code."""
    try:
        yield
    except SettingsError as error:
        raise ConfigurationFailure(str(error)) from None
    except RequestError as error:
        raise click.UsageError(f"{error}.") from None
    except CacheproxyError as error:
        raise RunFailure(f"cacheproxy: {error}") from None


@dataclass(frozen=True, slots=True)
class _Remote:
    """What a server says of its cache (`Cache`)."""

    api: AdminApi

    def explain(self, asked: str) -> "Explanation":
        from cacheproxy.ops.api.reports import Explanation  # noqa: PLC0415 - as the server is

        return _as(Explanation, self.api.get("/api/v1/explain", {"image": asked}))

    def purge(self, asked: "PurgeRequest") -> "PurgeReport":
        from cacheproxy.ops.api.reports import PurgeReport  # noqa: PLC0415

        return _as(PurgeReport, self.api.post("/api/v1/purge", asdict(asked)))

    def plan(self, asked: "PlanRequest", told: "Callable[[PlanStep], None]") -> "PlanReport":
        from cacheproxy.ops.api.reports import PlanReport  # noqa: PLC0415
        from cacheproxy.ops.api.work import PLAN_LINES  # noqa: PLC0415

        heard = _Heard(PLAN_LINES, PlanReport, told)
        query = {name: value for name, value in asdict(asked).items() if value is not None}
        self.api.stream_of("/api/v1/plan", query, heard)
        return heard.last(self.api)

    def scrub(self, asked: "ScrubRequest", told: "Callable[[ScrubStep], None]") -> "ScrubSummary":
        from cacheproxy.ops.api.work import SCRUB_LINES, ScrubSummary  # noqa: PLC0415

        heard = _Heard(SCRUB_LINES, ScrubSummary, told)
        self.api.stream("/api/v1/scrub", asdict(asked), heard)
        return heard.last(self.api)


class _Heard(Generic[T]):
    """Reads an answer line by line; what it comes to is the last one."""

    def __init__(
        self, lines: Mapping[str, type], last: type[T], told: Callable[[Any], None]
    ) -> None:
        self._lines = lines
        self._last_kind = last
        self._told = told
        self._last: T | None = None

    def __call__(self, document: object) -> None:
        match document:
            case {"error": {"message": str(message)}}:
                raise RunFailure(f"cacheproxy: {message}")
            case dict():
                for key in self._lines.keys() & document.keys():  # others: of a later version
                    self._hear(_as(self._lines[key], document[key]))
            case _:
                pass

    def _hear(self, step: object) -> None:
        if isinstance(step, self._last_kind):
            self._last = step
        else:
            self._told(step)

    def last(self, api: AdminApi) -> T:
        if self._last is None:
            raise RunFailure(
                f"cacheproxy: the server at {api.url} ended before it was done; run this again "
                "when it is back"
            )
        return self._last


def _as(kind: type[T], document: object) -> T:
    """The value that the document is.

    Raises:
        RunFailure: it is none; the server is of another version.
    """
    try:
        return msgspec.convert(document, type=kind, dec_hook=read_digest)
    except msgspec.ValidationError as error:
        raise RunFailure(
            f"cacheproxy: the server's answer is not understood ({error}); is it of this version?"
        ) from None
